"""Judges, benchmarks, fidelity, diversity, KL and intervals; measured, never trained on."""
