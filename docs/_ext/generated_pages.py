"""Pages made from the code: the gallery, the command line, the API, and the figures they show."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import figures
import reference
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Drawing(SphinxDirective):
    """A generated figure, for light and dark pages, wide and narrow screens."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Return one image for every kind of screen; the style sheet shows one of them."""
        name, alt = self.arguments[0], self.options["alt"]
        return [
            nodes.image(
                uri=f"/generated/{name}-{shade}-{screen}.svg",
                alt=alt,
                classes=[f"only-{shade}", f"on-{screen}", "drawing"],
            )
            for shade, screen in product(figures.SHADES, figures.SCREENS)
        ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before the others are read."""
    app.add_directive("drawing", Drawing)
    app.connect("builder-inited", write_pages)
    return {"version": "1", "parallel_read_safe": True}


def write_pages(app: Sphinx) -> None:
    """Write every generated page and figure into ``docs/generated``."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    figures.draw_examples(folder, Path(app.srcdir) / "index.md")
    pages = {
        "gallery.md": figures.gallery(folder),
        "cli.md": reference.command_line(),
        "api.md": reference.api(),
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
