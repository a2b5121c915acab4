"""The command line: `stockade COMMAND …`. One module for each command, imported when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stockade.cli.output import print_out, say
from stockade.cli.usage import UsageError, did_you_mean

# Name → (module, what it does in a few words).
COMMANDS = {"run": ("stockade.cli.run", "run a program under a policy")}
OPTIONS = ("--help", "-h", "--version")
EXIT_OWN_ERROR = 125


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with `argv` (sys.argv without the program's name unless given); the exit code.

    Never raises for what a user did wrong: that is said on standard error, with exit code 125.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except UsageError as error:
        say(f"{error.command}: {error}\nTry '{error.command} --help'.")
        return EXIT_OWN_ERROR
    except KeyboardInterrupt:
        return 128 + 2


def _dispatch(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name in COMMANDS:
        from importlib import import_module

        code: int = import_module(COMMANDS[name][0]).main(arguments[1:])
        return code
    if name in ("--help", "-h"):
        from stockade.cli.help import general_help

        print_out(general_help({command: meaning for command, (_, meaning) in COMMANDS.items()}))
        return 0
    if name == "--version":
        from stockade import __version__

        print_out(f"stockade {__version__}\n")
        return 0
    raise UsageError("stockade", _wrong(name))


def _wrong(name: str) -> str:
    if not name:
        return f"a command is missing: {', '.join(COMMANDS)}"
    if name.startswith("-"):
        return f"unknown option {name!r}{did_you_mean(name, OPTIONS)}"
    return f"unknown command {name!r}{did_you_mean(name, COMMANDS)}"
