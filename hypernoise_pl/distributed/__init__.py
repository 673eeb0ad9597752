"""Several processes: FSDP over tied modules, the strategy, one run folder for all."""
