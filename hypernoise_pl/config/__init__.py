"""Configurations: files merged, keys checked against signatures, the identity of a run."""
