"""Search methods and what was trained side by side: the configuration, and the runner."""
