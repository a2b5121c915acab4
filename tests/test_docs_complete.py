"""The tables of the documentation leave nothing out."""

from __future__ import annotations

import dataclasses
import re
from importlib import import_module
from pathlib import Path

import pytest

import stockade
from stockade import Executor, Limits, Notify, OpenRequest, Process, Result, Status, Syscall, Verdict
from stockade.cli import COMMANDS, policy, run_words
from stockade.cli.help import RUN_EPILOG
from stockade.policy import profiles
from stockade.policy.builder import PolicyBuilder
from stockade.policy.groups import GROUPS
from stockade.policy.refused import REFUSED

DOCS = Path(__file__).resolve().parent.parent / "docs"
API = "".join((DOCS / name).read_text() for name in ("api.md", "hooks.md", "client.md", "monitor.md"))
CLI, PROFILES = ((DOCS / name).read_text() for name in ("cli.md", "profiles.md"))
POLICY = (DOCS / "policy.md").read_text() + (DOCS / "reference.md").read_text()


def code_words(page: str) -> set[str]:
    """Return the names that stand between backquotes, outside of code blocks."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return {word for span in re.findall(r"`([^`\n]+)`", prose) for word in re.findall(r"[\w-]+", span)}


def public_names(owner: type) -> set[str]:
    """Return the public attributes that a class adds."""
    return {name for name in vars(owner) if not name.startswith("_")}


@pytest.mark.parametrize("name", GROUPS)
def test_each_group_is_listed_with_its_meaning(name: str) -> None:
    assert f"| `{name}` | {GROUPS[name].meaning} |" in POLICY


def test_each_call_that_is_always_refused_is_listed_with_its_reason() -> None:
    rows = [line for line in POLICY.splitlines() if line.startswith("| `")]
    for row in REFUSED:
        for syscall in row.syscalls:
            assert [line for line in rows if f"`{syscall}`" in line and row.reason in line], (syscall, row.reason)


def test_each_option_of_each_command_is_listed() -> None:
    homes = {**COMMANDS, **policy.COMMANDS, "run": (run_words.__name__, "")}
    modules = [import_module(home) for name, (home, _) in homes.items() if name != "policy"]
    options = {name for module in modules for action in module.parser().options for name in action.option_strings}
    assert {name for name in options if name.startswith("--")} <= code_words(CLI)
    assert len(options) > 30


def test_each_exit_code_of_the_command_is_listed() -> None:
    codes = re.findall(r"^  (1\d\d|128\+N) ", RUN_EPILOG, re.MULTILINE)
    assert len(codes) >= 6
    assert [code for code in codes if f"| {code.replace('+N', ' + n')} |" not in CLI] == []


def test_each_profile_is_listed() -> None:
    assert set(profiles.names()) <= code_words(PROFILES)


def test_each_public_name_is_explained() -> None:
    assert set(stockade.__all__) - {"arg"} <= {*code_words(API), *re.findall(r"\w+", API)}
    assert "arg(1)" in POLICY


@pytest.mark.parametrize(
    "owner", [Executor, Process, Result, Syscall, Notify, Verdict, OpenRequest], ids=lambda owner: owner.__name__
)
def test_the_attributes_of_public_classes_are_listed(owner: type) -> None:
    internal = {"open_files", "watch", "wait_until_started", "abandon", "release", "attach_to", "internal_error"}
    internal |= {"memory_was_read", "check_returncode", "begin", "run_to_end"}
    assert public_names(owner) - internal <= {*code_words(API), *re.findall(r"\w+", API)}


def test_each_limit_and_status_is_listed() -> None:
    assert {field.name for field in dataclasses.fields(Limits)} <= code_words(API)
    assert {status.name for status in Status} <= code_words(API)


def test_the_builder_s_methods_are_listed() -> None:
    groups = {name for name in dir(PolicyBuilder) if name.removeprefix("danger_").removeprefix("allow_") in GROUPS}
    groups |= {f"danger_allow_{name.removeprefix('danger_')}" for name in GROUPS if name.startswith("danger_")}
    methods = {name for name in dir(PolicyBuilder) if not name.startswith("_")} - groups
    assert methods - {name for name in dir(PolicyBuilder) if f"{name}(" in POLICY or f"`{name}`" in POLICY} == set()
