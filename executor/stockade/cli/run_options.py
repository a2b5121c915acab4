"""What the command line of `stockade run` says, checked."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stockade.cli.policy_argument import variables_of
from stockade.cli.run_words import COMMAND, read_words
from stockade.cli.usage import UsageError
from stockade.errors import PolicyError
from stockade.limits import Limits
from stockade.units import parse_duration

DEFAULT_PROFILE = "default"
# Option → limit of `stockade.Limits`.
LIMIT_OPTIONS = {
    "--timeout": "wall_time",
    "--open-files": "open_files",
    "--processes": "processes",
    "--file-size": "file_size",
    "--address-space": "address_space",
}
_COUNTS = ("--open-files", "--processes")
# Digits.
_LONGEST_COUNT = 10


@dataclass(frozen=True, slots=True)
class MountOption:
    """One --ro or --rw: a path of the host, made absolute, and where it is shown."""

    option: str
    source: str
    target: str
    writable: bool


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says."""

    command: tuple[str, ...]
    policy: str | None
    profile: str | None
    variables: Mapping[str, str]
    mounts: tuple[MountOption, ...]
    env: Mapping[str, str]
    cwd: str | None
    limits: Limits
    terminate_grace: float | None
    mode: str
    monitor: str
    flight_recorder: int | None
    trace_summary: bool
    json: str | None
    empty_stdin: bool
    quiet: bool
    report: bool
    debug: bool
    fail_on_violation: bool


def parse(arguments: Sequence[str]) -> RunOptions | None:
    """Read a command line; None when help was asked for and printed. Raises UsageError."""
    found, command = read_words(arguments)
    if found is None:
        return None
    if not command or not command[0]:
        raise UsageError(COMMAND, "the program to run is missing")
    if found.policy is not None and found.profile is not None:
        raise UsageError(COMMAND, "--policy and --profile exclude each other: give one of them")
    return RunOptions(
        command=tuple(command),
        policy=found.policy,
        profile=found.profile,
        variables=variables_of(found.set, COMMAND),
        mounts=tuple(_mount(option, text) for option, text in found.mounts),
        env=dict(_variable(text) for text in found.env),
        cwd=_inner_directory(found.cwd),
        limits=_limits(found),
        terminate_grace=_terminate_grace(found.terminate_grace),
        mode=found.mode,
        monitor=found.monitor,
        flight_recorder=_flight_recorder(found.flight_recorder),
        trace_summary=found.trace_summary,
        json=found.json,
        empty_stdin=found.stdin == "none",
        quiet=found.quiet,
        report=not found.no_report,
        debug=found.debug,
        fail_on_violation=found.fail_on_violation,
    )


def _mount(option: str, text: str) -> MountOption:
    """Read PATH[:INSIDE]. INSIDE is absolute, so a colon in a name of the host does no harm unless / follows it."""
    source, colon, inside = text.rpartition(":/")
    source, target = (source, f"/{inside}") if colon else (text, "")
    if not source:
        raise UsageError(COMMAND, f"{option} {text!r}: the path is empty")
    source = os.path.abspath(source)
    return MountOption(option, source, _canonical(target) if target else source, option == "--rw")


def _canonical(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name:
        raise UsageError(COMMAND, f"--env {text!r}: the name of the variable is empty")
    if not equals:
        if name not in os.environ:
            raise UsageError(COMMAND, f"--env {name}: it is not set here; write --env {name}=VALUE")
        value = os.environ[name]
    return name, value


def _inner_directory(path: str | None) -> str | None:
    if path is not None and not path.startswith("/"):
        raise UsageError(COMMAND, f"--cwd {path!r}: it is a path in the box, so it has to be absolute")
    return path


def _terminate_grace(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise UsageError(COMMAND, f"--terminate-grace: {error}") from None


def _flight_recorder(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < _LONGEST_COUNT):
        raise UsageError(COMMAND, f"--flight-recorder {text!r}: write a whole number of events, such as 100")
    return int(text)


def _limits(found: argparse.Namespace) -> Limits:
    limits: dict[str, int | str] = {}
    for option, name in LIMIT_OPTIONS.items():
        text: str | None = getattr(found, option.removeprefix("--").replace("-", "_"))
        if text is None:
            continue
        if option in _COUNTS and not (text.isascii() and text.isdigit()):
            raise UsageError(COMMAND, f"{option} {text!r}: write a whole number")
        limits[name] = int(text) if option in _COUNTS else text
        try:
            Limits(**{name: limits[name]})  # type: ignore[arg-type]
        except PolicyError as error:
            raise UsageError(COMMAND, f"{option}: {error.message.removeprefix(f'limit {name}: ')}") from None
    return Limits(**limits)  # type: ignore[arg-type]
