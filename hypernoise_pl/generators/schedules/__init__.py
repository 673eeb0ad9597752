"""Noise schedules, and the sampler steps that belong to them."""
