"""The options of `stockade run`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from stockade.cli.help import RUN_DESCRIPTION, RUN_EPILOG
from stockade.cli.output import print_out
from stockade.cli.usage import UsageError, did_you_mean
from stockade.errors import PolicyError
from stockade.limits import Limits

COMMAND = "stockade run"
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
    mounts: tuple[MountOption, ...]
    env: Mapping[str, str]
    cwd: str | None
    limits: Limits
    mode: str
    json: str | None
    empty_stdin: bool
    quiet: bool
    report: bool
    debug: bool
    fail_on_violation: bool

    @property
    def uses_default(self) -> bool:
        """Whether the profile applies to which the program's own files are added."""
        return self.policy is None and self.profile in (None, DEFAULT_PROFILE)


def parse(arguments: Sequence[str]) -> RunOptions | None:
    """Read a command line; None when help was asked for and printed. Raises UsageError."""
    parser, actions = _parser()
    options, command = _split(arguments, {name: action for action in actions for name in action.option_strings})
    if "--help" in options or "-h" in options:
        print_out(parser.format_help())
        return None
    found = parser.parse_args(options)
    if not command or not command[0]:
        raise UsageError(COMMAND, "the program to run is missing")
    if found.policy is not None and found.profile is not None:
        raise UsageError(COMMAND, "--policy and --profile exclude each other: give one of them")
    return RunOptions(
        command=tuple(command),
        policy=found.policy,
        profile=found.profile,
        mounts=tuple(_mount(option, text) for option, text in found.mounts),
        env=dict(_variable(text) for text in found.env),
        cwd=_inner_directory(found.cwd),
        limits=_limits(found),
        mode=found.mode,
        json=found.json,
        empty_stdin=found.stdin == "none",
        quiet=found.quiet,
        report=not found.no_report,
        debug=found.debug,
        fail_on_violation=found.fail_on_violation,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(COMMAND, message.removeprefix("argument "))


class _AppendWithOption(argparse.Action):
    """Collects (option, value), so that --ro and --rw stay in the order in which they were given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), (option_string, values)])


def _parser() -> tuple[argparse.ArgumentParser, list[argparse.Action]]:
    parser = _Parser(
        prog=COMMAND,
        usage="stockade run [OPTION ...] [--] PROGRAM [ARG ...]",
        description=RUN_DESCRIPTION,
        epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("options")
    add = group.add_argument
    actions = [
        add("--policy", metavar="FILE", help="text policy to run under"),
        add("--profile", metavar="NAME", help="ready-made policy to run under"),
        *(
            add(name, metavar="PATH[:INSIDE]", dest="mounts", action=_AppendWithOption, default=[], help=text)
            for name, text in (
                ("--ro", "show a file or directory, read-only, at the same place or at INSIDE; may be repeated"),
                ("--rw", "the same, writable; programs in it cannot be executed"),
            )
        ),
        add(
            "--env",
            metavar="NAME[=VALUE]",
            action="append",
            default=[],
            help="set a variable, or take over your own; may be repeated",
        ),
        add("--cwd", metavar="DIR", help="working directory in the box; your own if it is shown there, else /"),
        add("--timeout", metavar="TIME", help="end the run after this time: 5s, 500ms, 2m; seconds without a unit"),
        add("--open-files", metavar="N", help="highest number of open files of a process"),
        add("--processes", metavar="N", help="highest number of processes and threads in the box"),
        add("--file-size", metavar="SIZE", help="largest file that may be written: 64M, 1.5GiB"),
        add("--address-space", metavar="SIZE", help="largest address space of a process"),
        add(
            "--mode",
            choices=("enforce", "refuse"),
            default="enforce",
            help="at a breach end the run (enforce, as without this option), or answer EPERM and go on (refuse)",
        ),
        add("--json", metavar="FILE|fd:N", help="write the result as JSON to a file or an open descriptor"),
        add("--stdin", choices=("none",), help="give the program an empty standard input"),
        add(
            "--fail-on-violation",
            action="store_true",
            help="exit with 159 in mode refuse, too, when calls were refused",
        ),
        add("--quiet", action="store_true", help="do not say that the default profile applies"),
        add("--no-report", action="store_true", help="do not explain on standard error how the run ended"),
        add("--debug", action="store_true", help="print the plan of mounts first, and the report in any case"),
        add("-h", "--help", action="store_true", help="show this and exit"),
    ]
    return parser, actions


def _split(arguments: Sequence[str], known: Mapping[str, argparse.Action]) -> tuple[list[str], list[str]]:
    """Split into options, each as one word ("--cwd=/x"), and the command, which begins at the first other word."""
    options: list[str] = []
    seen: set[str] = set()
    words = iter(range(len(arguments)))
    for index in words:
        word = arguments[index]
        if word == "--":
            return options, list(arguments[index + 1 :])
        if not word.startswith("-") or word == "-":
            return options, list(arguments[index:])
        name, equals, _ = word.partition("=")
        action = known.get(name)
        if action is None:
            raise UsageError(COMMAND, f"unknown option {name!r}{did_you_mean(name, known)}")
        if name in seen and action.default != []:
            raise UsageError(COMMAND, f"{name} is given twice")
        seen.add(name)
        if action.nargs == 0 or equals:
            options.append(word)
            continue
        following = next(words, None)
        if following is None:
            raise UsageError(
                COMMAND, f"{name} needs a value: {name} {action.metavar or '|'.join(action.choices or ())}"
            )
        options.append(f"{name}={arguments[following]}")
    return options, []


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
