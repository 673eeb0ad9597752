"""How the shapes world's reward models learn: pictures with graded flaws, and one file for each kind of model."""
