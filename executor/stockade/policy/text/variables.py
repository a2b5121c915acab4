"""Variables in text policies: $NAME and ${NAME} in paths, a dollar sign as $$.

A file declares the variables that it uses, or includes the file that does; the declaration of the including file counts
instead of an included one. Each variable has one value for the whole policy: the caller's, else its default. HOME and
PWD need no declaration. Only the fields of `PATHS` are looked at; a dollar sign anywhere else is itself.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.box.paths import canonical_text, path_problem
from stockade.policy.finding import FieldPath, closest
from stockade.policy.text.combine import Part
from stockade.policy.text.format import is_repeated
from stockade.policy.text.surroundings import BUILT_IN, HOME, surroundings
from stockade.text import quote

# What callers give: values by name.
Given: TypeAlias = Mapping[str, "str | os.PathLike[str]"]

# Fields that hold paths, with the name of the path in messages.
PATHS: Mapping[tuple[str, ...], str] = {
    ("filesystem", "mounts", "target"): "target",
    ("filesystem", "mounts", "bind", "source"): "source",
    ("filesystem", "mounts", "overlay", "source"): "source",
    ("filesystem", "mounts", "overlay", "keep_in"): "directory",
    ("filesystem", "mounts", "symlink", "points_to"): "destination",
    ("filesystem", "libraries_for_binary"): "binary",
    ("filesystem", "python"): "interpreter",
    ("filesystem", "root", "source"): "source",
}
# A symbolic link may say anything; all other paths are absolute and canonical.
_FREE = ("filesystem", "mounts", "symlink", "points_to")
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_DOLLAR = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>[^{}]*)\}|(?P<bare>\w+))?")
_RULE = "a variable is written $NAME or ${NAME}, and a dollar sign $$"


class VariablePart(Part):
    """A part with declarations of variables."""

    variables: Sequence[policy_pb2.Variable]
    includes: Sequence[VariablePart]


@dataclass(frozen=True, slots=True)
class _Declaration:
    part: VariablePart
    index: int

    @property
    def variable(self) -> policy_pb2.Variable:
        return self.part.variables[self.index]

    def error(self, message: str, field_name: str = "name") -> PolicyError:
        return self.part.error(("variables", self.index, field_name, 0), message)

    @property
    def place(self) -> str:
        return self.part.place(("variables", self.index))


# PATH_MAX of the kernel.
_LONGEST = 4096


@dataclass(slots=True)
class Values:
    """The values of the variables of one policy. `from_outside` are those of HOME and PWD, as far as they were used."""

    given: dict[str, str]
    declared: dict[str, _Declaration]
    used: set[str] = field(default_factory=set)
    from_outside: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """Give a value. Raises PolicyError, without a place, when there is none or when it cannot be part of a path."""
        self.used.add(name)
        if name in self.given:
            return self.given[name]
        if name in BUILT_IN:
            return self._outside(name)
        declaration = self.declared[name]
        default = declaration.variable.default
        if not default:
            what = f" ({declaration.variable.description})" if declaration.variable.description else ""
            raise declaration.error(f"the variable {name}{what} has no default: the caller must give it a value")
        try:
            return _checked(name, _replace(default, self._in_default))
        except PolicyError as error:
            raise declaration.error(error.message, "default") from None

    def _in_default(self, name: str) -> str:
        if name not in BUILT_IN:
            raise PolicyError(f"a default may use $HOME and $PWD, but no other variable, and uses {quote(name)}")
        return self.get(name)

    def _outside(self, name: str) -> str:
        value = surroundings(name)
        if value is None:
            reason = "the environment has no HOME" if name == HOME else "there is no current directory"
            raise PolicyError(f"${name} is used, but {reason}: the caller must give it a value")
        problem = path_problem(value, f"value of ${name}")
        if problem:
            raise PolicyError(problem)
        self.from_outside[name] = value
        return _checked(name, value)


def expand(root: VariablePart, parts: Sequence[VariablePart], given: Given | None = None) -> dict[str, str]:
    """Put the values of variables in their place, in the messages of all `parts` (of `root` and what it includes).

    Gives the values of HOME and PWD, as far as they were taken from outside. Raises PolicyError, with the place and the
    closest known name, for variables that are not declared, have no value, are given but not declared, declared twice,
    declared and not used; for what is no variable; and for values that make no path.
    """
    known: dict[int, dict[str, _Declaration]] = {}
    for part in reversed(parts):
        known[id(part)] = _declared(part, known)
    values = Values(_given(given or {}, root, known[id(root)]), known[id(root)])
    for part in parts:
        for path, what, read, write in path_fields(part.message):
            _expand_field(part, path, what, read(), write, values, known[id(part)])
    for name in (*values.declared, *values.given):
        if name not in values.used:
            declaration = values.declared.get(name)
            message = f"no path uses the variable {name}"
            raise declaration.error(message) if declaration else root.error((), f"{message}, which is given a value")
    return values.from_outside


def path_fields(
    message: policy_pb2.Policy,
) -> Iterator[tuple[FieldPath, tuple[str, ...], Callable[[], str], Callable[[str], None]]]:
    """Walk the fields of `PATHS` that are set: path in the message, names, and functions that read and write it."""
    for names in PATHS:
        yield from _walk(message, names, (), names)


def _walk(message: Any, names: tuple[str, ...], path: FieldPath, whole: tuple[str, ...]) -> Iterator[Any]:
    name, rest = names[0], names[1:]
    descriptor = message.DESCRIPTOR.fields_by_name[name]
    if is_repeated(descriptor):
        values = getattr(message, name)
        for index in range(len(values)):
            if rest:
                yield from _walk(values[index], rest, (*path, name, index), whole)
            else:
                read, write = (lambda i=index: values[i]), (lambda new, i=index: values.__setitem__(i, new))
                yield (*path, name, index), whole, read, write
    elif not rest:
        yield (*path, name, 0), whole, lambda: getattr(message, name), lambda new: setattr(message, name, new)
    elif message.HasField(name):
        yield from _walk(getattr(message, name), rest, (*path, name, 0), whole)


def escape_dollars(message: policy_pb2.Policy) -> policy_pb2.Policy:
    """Give a policy with the dollar signs of its paths doubled, as a text policy writes them."""
    if not any("$" in read() for _, _, read, _ in path_fields(message)):
        return message
    copy = policy_pb2.Policy()
    copy.CopyFrom(message)
    for _, _, read, write in path_fields(copy):
        write(read().replace("$", "$$"))
    return copy


def _declared(part: VariablePart, known: Mapping[int, dict[str, _Declaration]]) -> dict[str, _Declaration]:
    """Give the variables that a part may use: its own, and those of what it includes."""
    own: dict[str, _Declaration] = {}
    for index, variable in enumerate(part.variables):
        declaration = _Declaration(part, index)
        if problem := _name_problem(variable.name):
            raise declaration.error(problem)
        if variable.name in own:
            message = f"the variable {variable.name} is declared already, at {own[variable.name].place}"
            raise declaration.error(message)
        own[variable.name] = declaration
    found: dict[str, _Declaration] = {}
    for index, each in enumerate(part.includes):
        for name, declaration in known[id(each)].items():
            other = found.setdefault(name, declaration)
            if name not in own and other.variable.default != declaration.variable.default:
                differ = (
                    f"the included policies differ in the variable {name}: see {other.place} and {declaration.place}"
                )
                raise part.error(("include", index), f"{differ}. Declare it here to decide")
    return {**found, **own}


def _name_problem(name: str) -> str | None:
    if name in BUILT_IN:
        return f"{name} needs no declaration: every policy has it"
    if not _NAME.fullmatch(name):
        return f"{quote(name)} is no name of a variable: capital letters, digits and underscores, a letter first"
    return None


def _given(given: Given, root: Part, declared: Mapping[str, object]) -> dict[str, str]:
    """Check the names and values that the caller gives."""
    values = {}
    for name, value in given.items():
        if name not in declared and name not in BUILT_IN:
            message = f"a value is given for {quote(name)}, which the policy does not declare"
            raise _unknown(root, (), message, name, declared)
        try:
            values[name] = _checked(name, canonical_text(value))
        except PolicyError as error:
            raise root.error((), error.message) from None
    return values


def _unknown(part: Part, path: FieldPath, message: str, name: str, declared: Mapping[str, object]) -> PolicyError:
    return part.error(path, message, closest(name, [*declared, *BUILT_IN]))


def _expand_field(
    part: VariablePart,
    path: FieldPath,
    names: tuple[str, ...],
    written: str,
    write: Callable[[str], None],
    values: Values,
    declared: Mapping[str, _Declaration],
) -> None:
    if "$" not in written:
        return

    def value(name: str) -> str:
        if name not in declared and name not in BUILT_IN:
            raise _unknown(part, path, _undeclared_text(name), name, declared)
        return values.get(name)

    try:
        expanded = _replace(written, value)
        problem = None if names == _FREE else path_problem(expanded, PATHS[names])
        if problem:
            raise PolicyError(f"{problem}; it is written {quote(written)}")
    except PolicyError as error:
        raise error if error.source is not None else part.error(path, error.message) from None
    write(expanded)


def _undeclared_text(name: str) -> str:
    problem = _name_problem(name)
    return problem if problem else f"the variable {name} is not declared: write variables {{ name: {quote(name)} }}"


def _replace(written: str, value: Callable[[str], str]) -> str:
    """Put values in the place of variables.

    Raises PolicyError for a dollar sign that begins none, and for what is longer than a path can be.
    """
    size = len(written)

    def one(match: re.Match[str]) -> str:
        nonlocal size
        if match["dollar"]:
            return "$"
        name = match["braced"] if match["braced"] is not None else match["bare"]
        if not name:
            shown = quote(written[match.start() : match.start() + 20])
            raise PolicyError(f"the dollar sign at {shown} begins no variable: {_RULE}")
        found = value(name)
        if found == "/" and written.startswith("/", match.end()):
            found = ""  # $HOME/x is /x where HOME is the root, as it is in many containers
        size += len(found) - len(match.group())
        # The values that follow could only be shorter than their names by what is left of the text.
        if size > len(written) + _LONGEST:
            raise PolicyError(f"{quote(written)} is longer than a path can be, with the values of its variables")
        return found

    return _DOLLAR.sub(one, written)


def _checked(name: str, value: str) -> str:
    """Raise PolicyError for a value that cannot be a part of a path."""
    if not value:
        raise PolicyError(f"the value of {name} is empty")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
        raise PolicyError(f"the value of {name}, {quote(value)}, holds characters that no path of a policy may hold")
    if ".." in value.split("/"):
        raise PolicyError(f'the value of {name}, {quote(value)}, leads upwards with ".."')
    return value
