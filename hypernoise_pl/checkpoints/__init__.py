"""Loading of published models: download, checks, key conversion."""
