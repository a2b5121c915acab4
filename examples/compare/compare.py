"""What a policy means: one call explained, two policies compared and merged."""

from __future__ import annotations

from stockade import Policy, PolicyBuilder, arg


def main() -> int:
    """Explain a call, then compare and merge two policies."""
    old = PolicyBuilder("old").allow_read().allow_syscall("lseek", arg(2).one_of("SEEK_SET", "SEEK_CUR")).build()
    new = PolicyBuilder("new").allow_syscalls("read", "lseek").add_tmpfs("/tmp").build()

    print("— lseek(…, SEEK_END) under the old policy")
    print(old.explain("lseek", ("_", "_", "SEEK_END")).to_text(78))

    difference = old.diff(new)
    print("— from old to new")
    print(difference.to_text(78))

    both = old.merge(new)
    print("— the union")
    print(both.policy.to_text(), end="")
    assert old.diff(both.policy).of_kind("refused") == ()

    # How it is written does not count: this allows the same calls as the old policy.
    same = PolicyBuilder().allow_syscall("lseek", arg(2) < 2).allow_read().build()
    print("— the same in other words:", "no difference" if old.diff(same).empty else "a difference")
    return 0 if Policy.from_text(both.policy.to_text()) == both.policy else 1


if __name__ == "__main__":
    raise SystemExit(main())
