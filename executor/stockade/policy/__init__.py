"""Policies: built, resolved into rules for one architecture, compiled to a seccomp filter, and explained.

A `Policy` message (proto/stockade/v1/policy.proto) is resolved by `resolve` into ordered rules; `bpf.compile` makes the
filter that the kernel runs, `evaluate` answers independently what the rules mean, `selfcheck` compares the two.
"""
