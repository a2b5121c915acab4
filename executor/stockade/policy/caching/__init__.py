"""Policies and filters that were made before, in memory and on disk."""
