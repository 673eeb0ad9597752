"""What every training shares: the adapter module, its checks, checkpoints, schedules and loggers."""
