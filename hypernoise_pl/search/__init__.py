"""Test-time search over noises, one file a method; the problem keeps budget, account and best sample."""
