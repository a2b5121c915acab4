"""The words of command lines: which are options, which are not; and what is wrong with them, in our words."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from stockade.cli.output import print_out
from stockade.cli.usage import UsageError, did_you_mean


class Parser(argparse.ArgumentParser):
    """The options of one command. Wrong ones raise UsageError; nothing is printed, and nothing exits.

    `add_option` instead of `add_argument` for options, `add_words` for the words that are none.
    """

    def __init__(self, command: str, usage: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=command,
            usage=f"{command} {usage}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        self.command = command
        self.options: list[argparse.Action] = []
        self._group = self.add_argument_group("options")

    def add_option(self, *names: str, metavar: str | None = None, help: str, repeated: bool = False) -> None:
        """Add an option with a value; `repeated` ones give a list."""
        if repeated:
            action = self._group.add_argument(*names, metavar=metavar, help=help, action="append", default=[])
        else:
            action = self._group.add_argument(*names, metavar=metavar, help=help)
        self.options.append(action)

    def add_choice(self, name: str, choices: Sequence[str], help: str, default: str | None = None) -> None:
        """Add an option whose value is one of `choices`."""
        self.options.append(self._group.add_argument(name, choices=choices, default=default, help=help))

    def add_switch(self, *names: str, help: str) -> None:
        """Add an option without a value."""
        self.options.append(self._group.add_argument(*names, action="store_true", help=help))

    def add_action(self, name: str, metavar: str, action: type[argparse.Action], dest: str, help: str) -> None:
        """Add an option with a value that an argparse action of its own keeps in the list `dest`."""
        added = self._group.add_argument(name, metavar=metavar, dest=dest, action=action, default=[], help=help)
        self.options.append(added)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError for what argparse complains about."""
        raise UsageError(self.command, message.removeprefix("argument "))

    def read(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]] | None:
        """Return the options and the other words, which may stand anywhere; None when help was printed."""
        self._help()
        return self._parsed(*self._split(arguments, anywhere=True))

    def read_before_command(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]] | None:
        """Return the options and what follows them, beginning at the first word that is none; None after help.

        Nothing behind that word is looked at.
        """
        self._help()
        return self._parsed(*self._split(arguments, anywhere=False))

    def _help(self) -> None:
        if "--help" not in self._option_string_actions:
            self.add_switch("-h", "--help", help="show this and exit")

    def _parsed(self, options: list[str], words: list[str]) -> tuple[argparse.Namespace, list[str]] | None:
        if "--help" in options or "-h" in options:
            print_out(self.format_help())
            return None
        return self.parse_args(options), words

    def _split(self, arguments: Sequence[str], *, anywhere: bool) -> tuple[list[str], list[str]]:
        """Split into options, each as one word ("--cwd=/x"), and the other words."""
        known: Mapping[str, argparse.Action] = self._option_string_actions
        options: list[str] = []
        words: list[str] = []
        seen: set[str] = set()
        left = iter(range(len(arguments)))
        for index in left:
            word = arguments[index]
            if word == "--":
                return options, [*words, *arguments[index + 1 :]]
            if not _is_option(word, anywhere):
                if not anywhere:
                    return options, list(arguments[index:])
                words.append(word)
                continue
            name, equals, _ = word.partition("=")
            action = self._known(name, known, seen)
            if action.nargs == 0 or equals:
                options.append(word)
                continue
            following = next(left, None)
            if following is None:
                shown = action.metavar or "|".join(action.choices or ())
                raise UsageError(self.command, f"{name} needs a value: {name} {shown}")
            options.append(f"{name}={arguments[following]}")
        return options, words

    def _known(self, name: str, known: Mapping[str, argparse.Action], seen: set[str]) -> argparse.Action:
        """Return the action of an option, which is noted in `seen`."""
        action = known.get(name)
        if action is None:
            raise UsageError(self.command, f"unknown option {name!r}{did_you_mean(name, known)}")
        if action.dest in seen and action.default != []:
            raise UsageError(self.command, f"{name} is given twice")
        seen.add(action.dest)
        return action


def _is_option(word: str, numbers_are_words: bool) -> bool:
    return word.startswith("-") and word != "-" and not (numbers_are_words and word[1].isdigit())
