"""Hyper-parameter sweeps with Optuna: each trial runs ``fit`` in a process and a folder of its own."""
