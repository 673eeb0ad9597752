"""Files, signals, threads and autocast: what is asked of the machine. Knows nothing of the method."""
