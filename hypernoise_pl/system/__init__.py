"""The machine: files, signals, threads, autocast and dtypes. Independent of the method."""
