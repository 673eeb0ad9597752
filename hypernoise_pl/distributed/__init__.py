"""Training in several processes: FSDP over tied modules, the strategy, the shared run folder."""
