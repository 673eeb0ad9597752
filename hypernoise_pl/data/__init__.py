"""Prompt sets: readers of prompt files, and their LightningDataModules."""
