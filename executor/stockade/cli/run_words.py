"""The words of a command line of `stockade run`: which are options, which are the program's."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from stockade.cli.help import RUN_DESCRIPTION, RUN_EPILOG
from stockade.cli.output import print_out
from stockade.cli.usage import UsageError, did_you_mean

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
    ("--open-files", "N", "highest number of open files of a process"),
    ("--processes", "N", "highest number of processes and threads in the box"),
    ("--file-size", "SIZE", "largest file that may be written: 64M, 1.5GiB"),
    ("--address-space", "SIZE", "largest address space of a process"),
    ("--json", "FILE|fd:N", "write the result as JSON to a file or an open descriptor"),
)
_ENV_HELP = "set a variable, or take over your own; may be repeated"
_MODE_HELP = "at a breach end the run (enforce, as without this option), or answer EPERM and go on (refuse)"
_SWITCHES = (
    (("--fail-on-violation",), "exit with 159 in mode refuse, too, when calls were refused"),
    (("--quiet",), "do not say that the default profile applies"),
    (("--no-report",), "do not explain on standard error how the run ended"),
    (("--debug",), "print the plan of mounts first, and the report in any case"),
    (("-h", "--help"), "show this and exit"),
)


def read_words(arguments: Sequence[str]) -> tuple[argparse.Namespace | None, list[str]]:
    """Return the options and the command; None for the options when help was asked for and printed.

    Raises UsageError. Nothing behind the program's name is looked at.
    """
    parser, actions = _parser()
    options, command = _split(arguments, {name: action for action in actions for name in action.option_strings})
    if "--help" in options or "-h" in options:
        print_out(parser.format_help())
        return None, command
    return parser.parse_args(options), command


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
    add = parser.add_argument_group("options").add_argument
    mode = ("enforce", "refuse")
    actions = [
        *(add(name, metavar=shown, help=text) for name, shown, text in _POLICIES),
        *(
            add(name, metavar=shown, dest="mounts", action=_AppendWithOption, default=[], help=text)
            for name, shown, text in _MOUNTS
        ),
        add("--env", metavar="NAME[=VALUE]", action="append", default=[], help=_ENV_HELP),
        *(add(name, metavar=shown, help=text) for name, shown, text in _VALUES),
        add("--stdin", choices=("none",), help="give the program an empty standard input"),
        add("--mode", choices=mode, default="enforce", help=_MODE_HELP),
        *(add(*names, action="store_true", help=text) for names, text in _SWITCHES),
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
