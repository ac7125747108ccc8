"""Whole files or none, and the directory of a run."""
