"""POLICY on the command line: a file, the name of a ready-made policy, or - for standard input; with its variables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stockade.cli.output import say
from stockade.cli.usage import UsageError, did_you_mean
from stockade.errors import PolicyError

if TYPE_CHECKING:
    from stockade.policy.policy import Policy

STDIN = "-"
STDIN_SOURCE = "<stdin>"
_SUFFIX = ".textproto"


class PolicyUnreadableError(PolicyError):
    """There is no text of a policy to judge: no such file or ready-made policy, or it cannot be read."""


class PolicyArgument:
    """One POLICY word. `path` is its file, or None for standard input; `source` is how messages call it."""

    def __init__(self, word: str, *, quiet: bool = False) -> None:
        """Find what the word means. Raises PolicyUnreadableError when it is the name of nothing.

        Words with a slash, and words that end in ".textproto", are files. Others are the names of ready-made policies,
        or else of files: what lies in the working directory never changes what a name means. Unless `quiet`, a file
        that is passed over for that reason is mentioned on standard error.
        """
        self.word = word
        self.path: str | None = None if word == STDIN else _path(word, quiet)
        self.source = STDIN_SOURCE if self.path is None else self.path
        self._text: str | None = None

    def load(self, variables: Mapping[str, str] | None = None) -> Policy:
        """Read the policy, for people: places in ready-made ones are given by their names ("profile gzip:12").

        Raises PolicyError for what is wrong in it, PolicyUnreadableError when it cannot be read.
        """
        return _with_short_places(self.load_as_it_is(variables))

    def load_as_it_is(self, variables: Mapping[str, str] | None = None) -> Policy:
        """Read the policy with the places as they are. Raises as `load` does."""
        from stockade.policy.policy import Policy

        if self.path is None:
            return Policy.from_text(self.text(), STDIN_SOURCE, variables)
        try:
            return Policy.load(self.path, variables)
        except PolicyError as error:
            if isinstance(error.__cause__, OSError) and error.path == self.path and error.line is None:
                raise _unreadable(error) from None
            raise

    def text(self) -> str:
        """Return the text as it was written; of standard input, the same each time. Raises as `load` does."""
        from stockade.policy.text.file import read_file
        from stockade.policy.text.syntax import decode

        if self._text is None:
            if self.path is None:
                data = _read_stdin()
            else:
                try:
                    data = read_file(self.path).data
                except PolicyError as error:
                    raise _unreadable(error) from None
            self._text = decode(data, self.source)
        return self._text

    def variables(self) -> set[str]:
        """Return the names of the variables that the policy uses. Raises PolicyError for what cannot be read."""
        from stockade.policy.text.combine import order
        from stockade.policy.text.include import Reader, TextPart
        from stockade.policy.text.surroundings import BUILT_IN
        from stockade.policy.text.variables import path_fields

        root = Reader().text(self.text(), self.source) if self.path is None else Reader().file(self.path)
        parts = [part for part in order(root) if isinstance(part, TextPart)]
        texts = [read() for part in parts for _, _, read, _ in path_fields(part.message)]
        texts += [variable.default for part in parts for variable in part.variables]
        declared = {variable.name for part in parts for variable in part.variables}
        spelled = {name: (f"${name}", f"${{{name}}}") for name in BUILT_IN}
        return declared | {
            name for name, both in spelled.items() if any(each in text for each in both for text in texts)
        }


def share(words: Sequence[str], variables: Mapping[str, str], command: str) -> list[Mapping[str, str]]:
    """Return for each of several policies those of `variables` that it uses; a policy alone gets all.

    Raises UsageError for a variable that none uses, and when more than one policy is standard input.
    """
    if list(words).count(STDIN) > 1:
        raise UsageError(command, "only one policy can come from standard input")
    if len(words) == 1 or not variables:
        return [variables] * len(words)
    shares: list[Mapping[str, str]] = []
    known: set[str] = set()
    for word in words:
        try:
            used = PolicyArgument(word, quiet=True).variables()
        except PolicyError:
            return [variables] * len(words)  # which policy is wrong shows when it is loaded
        shares.append({name: value for name, value in variables.items() if name in used})
        known |= used
    for name in variables:
        if name not in known:
            raise UsageError(command, f"--set {name}: no policy uses this variable{did_you_mean(name, sorted(known))}")
    return shares


def load_both(words: Sequence[str], variables: Mapping[str, str], command: str) -> tuple[Policy, Policy]:
    """Load two policies. Raises as `share` and `PolicyArgument.load` do."""
    shares = share(words, variables, command)
    first, second = PolicyArgument(words[0]), PolicyArgument(words[1])
    return first.load(shares[0]), second.load(shares[1])


def variables_of(settings: Sequence[str], command: str) -> dict[str, str]:
    """Read the values of --set, NAME=VALUE each. Raises UsageError."""
    variables: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise UsageError(command, f"--set {setting!r}: write --set NAME=VALUE")
        if name in variables:
            raise UsageError(command, f"--set {name}: it is given twice")
        if not setting.isprintable():
            raise UsageError(command, f"--set {setting!r}: it holds characters that cannot be printed")
        variables[name] = value
    return variables


def architecture_of(name: str | None, command: str) -> str:
    """Return the architecture that --arch names, or this machine's. Raises UsageError for an unknown one."""
    from stockade.kernel.architectures import AARCH64, X86_64, native

    known = (X86_64.name, AARCH64.name)
    if name is None:
        return native().name
    if name not in known:
        raise UsageError(command, f"--arch {name!r}: write {' or '.join(known)}{did_you_mean(name, known)}")
    return name


def _with_short_places(policy: Policy) -> Policy:
    from dataclasses import replace

    from stockade.policy import profiles
    from stockade.policy.policy import Policy

    directory = f"{profiles.directory()}/"

    def short(place: str) -> str:
        before, found, rest = place.partition(directory)
        file, colon, line = rest.rpartition(":")
        return f"{before}profile {file.removesuffix(_SUFFIX)}{colon}{line}" if found else place

    known = policy.places
    places = replace(
        known,
        rules=tuple(map(short, known.rules)),
        groups=tuple(map(short, known.groups)),
        default=short(known.default),
        raw_filters=tuple(map(short, known.raw_filters)),
        reopened=tuple(map(short, known.reopened)),
        fields=tuple(map(short, known.fields)),
    )
    return policy if places == known else Policy(policy.message, places)


def _path(word: str, quiet: bool) -> str:
    from stockade.policy import profiles

    if "/" in word or word.endswith(_SUFFIX):
        return word
    if word in profiles.names():
        if os.path.lexists(word) and not quiet:
            say(f"stockade: {word}: the ready-made policy is meant; write ./{word} for the file")
        return str(profiles.find(word))
    if os.path.lexists(word):
        return word
    near = did_you_mean(word, profiles.names())
    raise PolicyUnreadableError(
        f"{word!r} is neither a ready-made policy nor a file{near}; 'stockade profiles' lists the ready-made ones"
    )


def _read_stdin() -> bytes:
    from stockade.policy.text.syntax import MAX_TEXT

    try:
        with open(0, "rb", closefd=False) as file:
            return file.read(MAX_TEXT + 1)
    except OSError as error:
        reason = f"cannot read the policy: {error.strerror}"
        raise PolicyUnreadableError(reason, source=STDIN_SOURCE) from None


def _unreadable(error: PolicyError) -> PolicyUnreadableError:
    return PolicyUnreadableError(error.message, source=error.source, path=error.path, suggestion=error.suggestion)
