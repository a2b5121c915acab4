"""Helpers of the tests: compiler, leftovers, expected skips, installations, code blocks of the documentation."""
