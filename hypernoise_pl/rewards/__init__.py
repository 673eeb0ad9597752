"""Verifiers and rewards, one file an architecture, and their ensemble."""
