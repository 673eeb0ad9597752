"""A noise hypernetwork on a user's diffusers pipeline: attach, detach, and the checks before it."""
