"""Policies as text: reading with includes and variables, writing, formatting."""
