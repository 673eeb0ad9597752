"""Commands that run a model: fit, validate, test, predict, compare and cache-prompts."""
