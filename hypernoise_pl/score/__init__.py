"""``score``: a benchmark's figures of images that any tool made."""
