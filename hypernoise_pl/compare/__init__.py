"""Comparison of search methods and trained adapters: configuration and runner."""
