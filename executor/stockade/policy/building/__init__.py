"""The parts of `PolicyBuilder`, one subject each."""
