"""Thin typed bindings to the Linux kernel: one function for each system call, constants, per-architecture tables.

No policy and no state. Every function that fails raises `OSError` whose text begins with the name of the call. What the
forkserver loads from here keeps to the built-in parts of the standard library, so that it stays small and forks fast.
"""
