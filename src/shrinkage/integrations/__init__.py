"""Callbacks of other libraries: one library a file, imported by whoever uses it."""
