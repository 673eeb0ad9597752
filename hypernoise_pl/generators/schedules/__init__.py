"""Noise schedules and the samplers that walk on them."""
