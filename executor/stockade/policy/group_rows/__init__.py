"""The rows of the group table, one module for each subject."""
