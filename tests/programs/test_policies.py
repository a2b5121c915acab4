"""What all ready-made policies for programs have in common: each file is looked at, also those that come later."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stockade import Policy
from stockade._proto import policy_pb2
from stockade.cli.findings import HINT
from stockade.cli.review import Review
from stockade.cli.review_dangers import dangers_in
from stockade.kernel.architectures import ARCHITECTURES
from stockade.policy.places import Places
from stockade.policy.text.source import format_source
from support.programs import POLICIES

MACHINES = ("x86_64", "aarch64")
# Switches named danger_ that a policy for a program needs, each with the reason why there is no other way.
DANGERS: dict[tuple[str, str], str] = {}


def _is_for_programs(path: Path) -> bool:
    filesystem = Policy.load(path).message.filesystem
    return bool(filesystem.libraries_for_binary or filesystem.python)


PATHS = [path for path in sorted(POLICIES.glob("*.textproto")) if _is_for_programs(path)]
each_policy = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def _header(path: Path) -> str:
    """Return the comment that the file begins with, as one text."""
    lines = path.read_text().splitlines()
    end = next(index for index, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.removeprefix("#").strip() for line in lines[:end])


def test_the_programs_that_are_promised_have_policies() -> None:
    promised = {"gzip", "jq", "python3", "tar", "sqlite3", "git", "perl", "openssl"}
    promised |= {"node", "gcc", "imagemagick", "pdftotext"}
    assert promised <= {path.stem for path in PATHS}


@each_policy
def test_the_header_says_for_what_and_how(path: Path) -> None:
    header = _header(path)
    message = Policy.load(path).message
    assert message.name == path.stem
    assert "Written for" in header
    assert "x86_64" in header
    assert re.search(r"[Mm]ount|--ro|--rw", header), "what the caller must show"
    assert "network" in header
    assert len(message.description.splitlines()) == 1
    version = re.search(r"\d+(\.\d+)*", message.tested_with[0].version)
    assert version is not None
    numbers = version[0].split(".")
    prefixes = [re.escape(".".join(numbers[: count + 1])) for count in range(len(numbers))]
    found = re.search(rf"(?<![\d.])({'|'.join(prefixes)})(?!\.?\d)", header)
    assert found, f"the version {version[0]}, as far as it matters"


@each_policy
def test_tested_programs_are_those_that_are_shown(path: Path) -> None:
    message = Policy.load(path).message
    assert message.tested_with
    shown = {*message.filesystem.libraries_for_binary, *message.filesystem.python}
    for tested in message.tested_with:
        assert tested.path in shown
        assert tested.version and tested.platform


@each_policy
def test_programs_are_installed_where_tests_run(path: Path) -> None:
    filesystem = Policy.load(path).message.filesystem
    missing = [name for name in (*filesystem.libraries_for_binary, *filesystem.python) if not Path(name).exists()]
    assert missing == [], "tools/setup.sh installs them"


@each_policy
def test_nothing_is_found_against_it(path: Path) -> None:
    """No rule that never decides, none of high risk without a reason, equal to what libseccomp makes of it."""
    policy = Policy.load(path)
    found = [each for each in Review(policy, path.name, MACHINES, verbose=False).findings() if each.level != HINT]
    assert [each.text() for each in found if each.code != "danger"] == []
    for name in MACHINES:
        assert policy.resolve(ARCHITECTURES[name]).rules


@each_policy
def test_dangers_are_those_that_are_listed(path: Path) -> None:
    message = Policy.load(path).message
    found = {(path.stem, danger.text) for danger in dangers_in(message, Places())}
    assert found <= DANGERS.keys()


def test_a_danger_is_found() -> None:
    message = Policy.load(POLICIES / "gzip.textproto").message
    message.syscalls.groups.add(name="danger_mmap_with_exec")
    assert [danger.text for danger in dangers_in(message, Places())] != []


@each_policy
def test_the_network_is_empty_and_nothing_of_the_host_is_writable(path: Path) -> None:
    message = Policy.load(path).message
    assert message.network.mode == policy_pb2.Network.NONE
    assert not message.filesystem.writable_root
    assert not message.filesystem.HasField("root")
    for mount in message.filesystem.mounts:
        assert not mount.bind.writable
        assert mount.WhichOneof("kind") in ("bind", "tmpfs", "dev", "proc", "symlink")
        if mount.WhichOneof("kind") == "tmpfs":
            assert (mount.target, mount.tmpfs.danger_executable) == ("/tmp", False)
            assert mount.tmpfs.size


@each_policy
def test_the_layout_is_canonical(path: Path) -> None:
    text = path.read_text()
    assert format_source(text, path.name) == text
