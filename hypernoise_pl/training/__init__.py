"""Training: the adapter module, its step guard, checkpoints, schedules and loggers."""
