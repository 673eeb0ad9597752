"""Verifiers that score latents without decoding them."""
