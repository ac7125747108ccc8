"""``shrinkage compare``."""
