"""Many fits of one definition, on Optuna: each trial is a ``fit`` of its own in its own folder."""
