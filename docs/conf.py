"""The documentation: Markdown and docstrings, built by `make docs` without the network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from shrinkage import __version__

project = "shrinkage"
author = "the shrinkage authors"
copyright = "the shrinkage authors, BSD-3-Clause"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated_pages",
    "mathml",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"
nitpicky = True
# Torch's and others' names are not ours to link, and the types of our own annotations are
# documented under the name they are imported by.
nitpick_ignore_regex = [
    ("py:class", r"(torch|collections|pathlib|re|numpy|typing)\..*"),
    ("py:class", r"(.*\.)?(Tensor|Axes|Dim|P|Progress|Transformer|Chosen|_\w+(\..*)?|dict\[.*)"),
    ("py:class", r"shrinkage\.(coupling|penalties\.base|engine|plots\.ink)\..*|ink\.Paper"),
    ("py:class", r"shrinkage\.regularizing\.(stats|summary|targets)\..*"),
]

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Shape"]

smartquotes = False  # "--json" stays what one types

html_theme = "furo"
html_title = "shrinkage"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072b2", "color-brand-content": "#0072b2"},
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
