"""`stockade policy show` and `policy groups`: everything expanded, rules in order, the filter, the group table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stockade import Policy, PolicyBuilder
from stockade.policy.groups import GROUPS, expand
from support.command_line import CommandLine

POLICY = """\
# A comment.
schema_version: 1
name: "example"
syscalls {
  rules { syscall: "openat" when { argument: 2 equal: "O_RDWR" } action: ERRNO errno: "EROFS" }
  rules { syscall: "getpid" syscall: "getppid" action: ALLOW }
  rules { syscall: "fcntl" action: ERRNO errno: "0" overridable: true }
  groups { name: "open" }
  default_action { action: TRACE hook: "ask" }
}
options { unknown_syscalls_enosys: true }
"""


def test_the_text_is_canonical_and_means_the_same(stockade: CommandLine) -> None:
    done = stockade("policy", "show", "-", input=POLICY)
    assert (done.returncode, done.stderr) == (0, "")
    assert "#" not in done.stdout
    assert Policy.from_text(done.stdout) == Policy.from_text(POLICY)
    assert stockade("policy", "show", "-", input=done.stdout).stdout == done.stdout


def test_rules_in_the_order_of_decision(stockade: CommandLine) -> None:
    done = stockade("policy", "show", "--rules", "--arch", "x86_64", "-", input=POLICY, env={"COLUMNS": "100"})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:6] == [
        "# x86_64, mode enforce: the first rule of a call whose conditions hold decides",
        "<stdin>:5",
        "  openat, when flags is O_RDWR: answered with EROFS",
        "<stdin>:6",
        "  getpid: allowed",
        "  getppid: allowed",
    ]
    assert lines[6] == "<stdin>:8 (group open)"
    assert lines.index("<stdin>:7") > lines.index("<stdin>:8 (group open)")  # overridable ones come last
    assert lines[lines.index("<stdin>:7") + 1] == "  fcntl: not run, and pretended to succeed"
    assert "always refused" in lines and "  ptrace: a violation" in lines
    assert lines[-2] == "any other call is decided by the hook ask"
    assert re.fullmatch(r"any number above \d+, that of the newest known call, is answered with ENOSYS", lines[-1])


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("enforce", ""),
        ("refuse", "a violation is answered with EPERM and recorded"),
        (
            "permissive",
            "a violation happens and is recorded, but not a call that is always refused, nor one with an un",
        ),
    ],
)
def test_rules_and_filter_of_a_mode(stockade: CommandLine, mode: str, said: str) -> None:
    listed = stockade("policy", "show", "--rules", "--mode", mode, "gzip", env={"COLUMNS": "200"}).stdout.splitlines()
    assert f"mode {mode}: " in listed[0]
    assert (listed[1].startswith("# ") and said in listed[1]) == bool(said)
    listing = stockade("policy", "show", "--bpf", "--mode", mode, "gzip").stdout
    assert re.search(r"ret   trace 1 +; the free exec\n", listing)
    assert bool(re.search(r"ret   trace 2 +; a violation\n", listing)) == (mode != "enforce")
    assert bool(re.search(r"ret   trace 4 +; a violation that stays refused\n", listing)) == (mode == "permissive")


def test_rules_of_another_architecture(stockade: CommandLine) -> None:
    """aarch64 has no open, only openat."""
    both = [stockade("policy", "show", "--rules", "--arch", name, "-", input=POLICY) for name in ("x86_64", "aarch64")]
    assert re.search(r"^  open(,|:)", both[0].stdout, re.MULTILINE)
    assert not re.search(r"^  open(,|:)", both[1].stdout, re.MULTILINE)
    assert all(re.search(r"^  openat(,|:)", done.stdout, re.MULTILINE) for done in both)


def test_the_filter_and_its_size(stockade: CommandLine) -> None:
    done = stockade("policy", "show", "--bpf", "--arch", "aarch64", "--mode", "refuse", "-", input=POLICY)
    assert (done.returncode, done.stderr) == (0, "")
    program = Policy.from_text(POLICY).compile("aarch64", "refuse")
    head, *lines = done.stdout.splitlines()
    assert head == f"# {len(program) // 8} of 4096 instructions, {len(program)} bytes, aarch64, mode refuse"
    assert len(lines) == len(program) // 8
    assert "; aarch64" in lines[1] and any("; openat" in line for line in lines)


def test_the_digest(stockade: CommandLine) -> None:
    done = stockade("policy", "show", "--digest", "-", input=POLICY)
    assert (done.stdout, done.stderr) == (f"{Policy.from_text(POLICY).digest.hex()}\n", "")
    # How it is written does not count.
    assert stockade("policy", "show", "--digest", "-", input=Policy.from_text(POLICY).to_text()).stdout == done.stdout
    assert stockade("policy", "show", "--digest", "-", input=POLICY.replace("EROFS", "EPERM")).stdout != done.stdout


def test_pseudo_filter_code_of_libseccomp(stockade: CommandLine) -> None:
    done = stockade("policy", "show", "--pfc", "--arch", "x86_64", "-", input=POLICY)
    assert (done.returncode, done.stderr) == (0, "")
    assert "# pseudo filter code start" in done.stdout and "getpid" in done.stdout
    assert "# left out: openat: " in done.stdout


class TestGroups:
    """`policy groups`."""

    def test_all_are_listed_with_their_meaning(self, stockade: CommandLine) -> None:
        done = stockade("policy", "groups", env={"COLUMNS": "200"})
        assert (done.returncode, done.stderr) == (0, "")
        rows = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
        assert rows == {name: group.meaning for name, group in GROUPS.items()}

    def test_one_in_detail(self, stockade: CommandLine) -> None:
        done = stockade("policy", "groups", "tcgets")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[:3] == [
            f"tcgets: {GROUPS['tcgets'].meaning}",
            '  text: groups { name: "tcgets" }',
            "  Python: .allow_tcgets()",
        ]
        assert '"TCGETS"' in done.stdout

    def test_includes_are_named_and_their_rules_shown(self, stockade: CommandLine) -> None:
        done = stockade("policy", "groups", "static_startup")
        for name in GROUPS["static_startup"].includes:
            assert f"  from the group {name}:\n" in done.stdout
        assert "  its own rules:\n" in done.stdout
        assert 'syscall: "set_tid_address"' in done.stdout and 'syscall: "getrandom"' in done.stdout

    @pytest.mark.parametrize("name", ["static_startup", "system_malloc", "read", "danger_mmap_with_exec"])
    def test_json_has_exactly_the_rules_of_the_group(self, stockade: CommandLine, name: str) -> None:
        [data] = json.loads(stockade("policy", "groups", "--json", name).stdout)
        text = f"schema_version: 1 syscalls {{ {' '.join(data['rules'])} }}"
        written = Policy.from_text(text).message.syscalls.rules
        assert [rule.SerializeToString() for rule in written] == [rule.SerializeToString() for rule in expand(name)]
        method = data["builder_call"].removeprefix(".").removesuffix("()")
        builder = PolicyBuilder()
        getattr(builder, method)()
        assert [group.name for group in builder.build().message.syscalls.groups] == [name]
        assert (
            Policy.from_text(f"schema_version: 1 syscalls {{ {data['text']} }}").message.syscalls.groups[0].name == name
        )

    def test_what_takes_arguments_says_so(self, stockade: CommandLine) -> None:
        done = stockade("policy", "groups", "futex_op")
        assert '.allow_futex_op("FUTEX_WAKE")' in done.stdout
        assert "It takes operations" in done.stdout

    def test_json_lists_all(self, stockade: CommandLine) -> None:
        data = json.loads(stockade("policy", "groups", "--json").stdout)
        assert [group["name"] for group in data] == list(GROUPS)

    def test_a_listing_for_a_narrow_terminal(self, stockade: CommandLine) -> None:
        lines = stockade("policy", "groups", env={"COLUMNS": "60"}).stdout.splitlines()
        assert lines[:2] == ["static_startup", f"    {GROUPS['static_startup'].meaning}"]


def test_an_include_is_shown_with_its_place(stockade: CommandLine, public_tmp: Path) -> None:
    (public_tmp / "base.textproto").write_text(POLICY)
    (public_tmp / "main.textproto").write_text(
        'schema_version: 1\nname: "main"\ninclude: "./base.textproto"\n'
        'syscalls {\n  rules { syscall: "getuid" action: ALLOW }\n}\n'
    )
    lines = stockade("policy", "show", "--rules", "main.textproto").stdout.splitlines()
    assert lines[1:4] == ["main.textproto:5", "  getuid: allowed", "base.textproto:5"]
