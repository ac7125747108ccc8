"""``shrinkage train``."""
