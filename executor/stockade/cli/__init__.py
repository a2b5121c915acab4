"""The command line: `stockade COMMAND …`. One module for each command, imported when it is used."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from stockade.cli.output import OutputError, print_out, say
from stockade.cli.usage import UsageError, did_you_mean

# Name → (module, what it does in a few words).
Commands = Mapping[str, tuple[str, str]]
COMMANDS: Commands = {
    "run": ("stockade.cli.run", "run a program under a policy"),
    "explain": ("stockade.cli.explain", "say what a policy allows, in words"),
    "policy": ("stockade.cli.policy", "show, check, format, compare and merge policies"),
    "profiles": ("stockade.cli.profiles", "list the ready-made policies"),
}
EXIT_OWN_ERROR = 125
_HELP = ("--help", "-h")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with `argv` (sys.argv without the program's name unless given); the exit code.

    Never raises for what a user did wrong: that is said on standard error, with exit code 125.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["--version"]:
            from stockade import __version__

            print_out(f"stockade {__version__}\n")
            return 0
        return dispatch("stockade", COMMANDS, arguments, ("--version",))
    except UsageError as error:
        say(f"{error.command}: {error}\nTry '{error.command} --help'.")
        return EXIT_OWN_ERROR
    except OutputError as error:
        say(f"stockade: cannot write to standard output: {error}")
        return EXIT_OWN_ERROR
    except KeyboardInterrupt:
        return 128 + 2


def dispatch(command: str, commands: Commands, arguments: Sequence[str], options: Sequence[str] = ()) -> int:
    """Run the one of `commands` that the first word names, with the words after it; its exit code.

    `command` is what was written so far; `options` are options that stand in place of a command. Raises UsageError.
    """
    name = arguments[0] if arguments else ""
    if name in commands:
        from importlib import import_module

        code: int = import_module(commands[name][0]).main(arguments[1:])
        return code
    if name in _HELP:
        from stockade.cli.help import help_of

        print_out(help_of(command, {each: meaning for each, (_, meaning) in commands.items()}))
        return 0
    if not name:
        raise UsageError(command, f"a command is missing: {', '.join(commands)}")
    if name.startswith("-"):
        raise UsageError(command, f"unknown option {name!r}{did_you_mean(name, (*_HELP, *options))}")
    raise UsageError(command, f"unknown command {name!r}{did_you_mean(name, commands)}")
