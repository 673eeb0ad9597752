"""Noise hypernetworks: test-time compute of text-to-image models, amortised."""

__version__ = "0.1.0"
