"""``python -m shrinkage`` is the same as ``shrinkage``."""

from __future__ import annotations

from shrinkage.cli import main

if __name__ == "__main__":
    main()
