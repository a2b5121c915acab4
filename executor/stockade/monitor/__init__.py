"""The monitor: follows a sandboxee, records violations, asks hooks, and decides how the run ended."""
