"""The caller's data as rows with targets, folds and losses."""
