"""How the shapes world's own models learn: captions to read, pictures with graded flaws; a file for each model."""
