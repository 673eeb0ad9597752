"""Training of the shapes world's models: generator, rewards, latent verifier."""
