"""``score``: scores existing images with a benchmark."""
