"""Frozen text-to-image models, one file a family."""
