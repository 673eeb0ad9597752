"""Configurations: files and flags, merged and checked against signatures, and the identity of a run."""
