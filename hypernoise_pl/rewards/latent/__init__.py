"""Verifiers that score latents before anything is decoded."""
