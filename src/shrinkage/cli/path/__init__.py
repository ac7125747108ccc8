"""``shrinkage path``."""
