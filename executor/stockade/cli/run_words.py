"""The words of a command line of `stockade run`: which are options, which are the program's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from stockade.cli.help import RUN_DESCRIPTION, RUN_EPILOG, SET_HELP
from stockade.cli.words import Parser

COMMAND = "stockade run"
# Options with a value, by what is shown for the value; in the order of the help.
_MOUNTS = (
    ("--ro", "PATH[:INSIDE]", "show a file or directory, read-only, at the same place or at INSIDE; may be repeated"),
    ("--rw", "PATH[:INSIDE]", "the same, writable; programs in it cannot be executed"),
)
_POLICIES = (
    ("--policy", "FILE", "text policy to run under"),
    ("--profile", "NAME", "ready-made policy to run under"),
)
_VALUES = (
    ("--cwd", "DIR", "working directory in the box; your own if it is shown there, else /"),
    ("--timeout", "TIME", "end the run after this time: 5s, 500ms, 2m; seconds without a unit"),
    ("--terminate-grace", "TIME", "when told to end, pass SIGTERM on, and kill after this time; else kill at once"),
    ("--open-files", "N", "highest number of open files of a process"),
    ("--processes", "N", "highest number of processes and threads in the box"),
    ("--file-size", "SIZE", "largest file that may be written: 64M, 1.5GiB"),
    ("--address-space", "SIZE", "largest address space of a process"),
    ("--flight-recorder", "N", "show the last N events when the program ends badly, 32 without this option; 0: none"),
    ("--json", "FILE|fd:N", "write the result as JSON to a file or an open descriptor"),
)
_ENV_HELP = "set a variable, or take over your own; may be repeated"
_MODE_HELP = (
    "at a breach end the run (enforce, as without this option), or answer EPERM and go on (refuse), or let it happen "
    "and say so (permissive; for programs that you trust)"
)
_MONITOR_HELP = "follow the program by ptrace, or by user notification of seccomp (unotify)"
_SWITCHES = (
    ("--fail-on-violation", "exit with 159 after any breach, too, when the mode lets the program go on"),
    ("--trace-summary", "say at the end how often each call that the monitor sees was made, and how long it took"),
    ("--quiet", "do not say that the default profile applies"),
    ("--no-report", "do not explain on standard error how the run ended"),
    ("--debug", "print the plan of mounts first, and the report in any case"),
)


def read_words(arguments: Sequence[str]) -> tuple[argparse.Namespace | None, list[str]]:
    """Return the options and the command; None for the options when help was asked for and printed.

    Raises UsageError. Nothing behind the program's name is looked at.
    """
    return parser().read_before_command(arguments) or (None, [])


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


def parser() -> Parser:
    """Return the options of the command."""
    parser = Parser(COMMAND, "[OPTION ...] [--] PROGRAM [ARG ...]", RUN_DESCRIPTION, RUN_EPILOG)
    for name, shown, text in _POLICIES:
        parser.add_option(name, metavar=shown, help=text)
    parser.add_option("--set", metavar="NAME=VALUE", repeated=True, help=SET_HELP)
    for name, shown, text in _MOUNTS:
        parser.add_action(name, shown, _AppendWithOption, "mounts", text)
    parser.add_option("--env", metavar="NAME[=VALUE]", repeated=True, help=_ENV_HELP)
    for name, shown, text in _VALUES:
        parser.add_option(name, metavar=shown, help=text)
    parser.add_choice("--stdin", ("none",), "give the program an empty standard input")
    parser.add_choice("--mode", ("enforce", "refuse", "permissive"), _MODE_HELP, default="enforce")
    parser.add_choice("--monitor", ("ptrace", "unotify"), _MONITOR_HELP, default="ptrace")
    for name, text in _SWITCHES:
        parser.add_switch(name, help=text)
    return parser
