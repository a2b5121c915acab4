"""`stockade profiles`: the ready-made policies, with what each is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stockade.cli.answers import OK, guarded
from stockade.cli.help import JSON_HELP
from stockade.cli.output import print_answer, width
from stockade.cli.usage import UsageError, did_you_mean
from stockade.cli.words import Parser

if TYPE_CHECKING:
    from pathlib import Path

    from stockade._proto import policy_pb2

COMMAND = "stockade profiles"
DESCRIPTION = """\
List the ready-made policies, each with what it allows. With
NAME, say where its file is, what it is for, and with which
programs and versions it was tested.
"""
EPILOG = """\
exit codes:
  0    printed
  125  wrong usage (an unknown name among it), or our error

examples:
  stockade profiles
  stockade profiles python3
  stockade run --profile python3 python3 -c 'print(1)'
"""
# Those for classes of programs, by heading, in the order of listing. All others are for the program of their name.
KINDS = (
    ("base profiles, each with all of the one before", ("minimal", "io-heavy", "compute", "network", "unrestricted")),
    ("presets", ("strict", "moderate", "permissive", "default")),
)
PROGRAMS = "programs"


@dataclass(frozen=True, slots=True)
class Profile:
    """One ready-made policy: its file, the comment at its head, and what its fields say of it."""

    name: str
    path: Path
    header: str
    message: policy_pb2.Policy


def parser() -> Parser:
    """Return the options of the command."""
    parser = Parser(COMMAND, "[OPTION ...] [NAME ...]", DESCRIPTION, EPILOG)
    parser.add_switch("--json", help=JSON_HELP)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command with the words after its name; the exit code. Raises UsageError."""
    read = parser().read(arguments)
    if read is None:
        return OK
    options, names = read
    return guarded(lambda: _profiles(names, as_json=options.json))


def _profiles(names: Sequence[str], *, as_json: bool) -> int:
    from stockade.policy import profiles

    known = profiles.names()
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise UsageError(COMMAND, f"there is no ready-made policy {name!r}{near}; without a name, all are listed")
    chosen = [_read(name) for name in dict.fromkeys(names) or known]
    if as_json:
        import json

        print_answer(json.dumps([_as_data(profile) for profile in chosen], indent=2) + "\n")
    elif names:
        print_answer("\n".join(_details(profile, width(1)) for profile in chosen))
    else:
        print_answer(_list(chosen, width(1)))
    return OK


def _read(name: str) -> Profile:
    """Read the head of a ready-made policy; nothing in it is judged, and nothing that it includes is read."""
    from google.protobuf import text_format

    from stockade._proto import policy_pb2
    from stockade.policy import profiles

    path = profiles.find(name)
    text = path.read_text(encoding="utf-8")
    header = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        header.append(line.removeprefix("#").strip())
    return Profile(name, path, "\n".join(header), text_format.Parse(text, policy_pb2.Policy()))


def _kind(name: str) -> str:
    return next((kind for kind, names in KINDS if name in names), PROGRAMS)


def _list(chosen: Sequence[Profile], columns: int) -> str:
    from stockade.cli.table import table

    by_name = {profile.name: profile for profile in chosen}
    listed = [(kind, [name for name in names if name in by_name]) for kind, names in KINDS]
    listed.append((PROGRAMS, [name for name in by_name if _kind(name) == PROGRAMS]))
    blocks = []
    for kind, names in listed:
        rows = [(name, by_name[name].message.description) for name in names]
        if rows:
            blocks.append(f"{kind}:\n{table(rows, columns, indent='  ')}")
    return "\n".join(blocks)


def _details(profile: Profile, columns: int) -> str:
    from stockade.wrap import paragraph, wrap

    message = profile.message
    lines: list[str] = []
    for text in (profile.header or f"{profile.name}: {message.description}").split("\n\n"):
        lines += [*wrap(text.replace("\n", " "), columns), ""]
    lines += paragraph(f"file: {profile.path}", columns, code=True)
    if message.include:
        lines += paragraph(f"includes: {', '.join(message.include)}", columns)
    for variable in message.variables:
        lines += paragraph(f"variable: {variable.name}, {variable.description}", columns)
    for tested in message.tested_with:
        lines += paragraph(f"tested with: {tested.path}, {tested.version}, on {tested.platform}", columns)
    return "".join(f"{line}\n" for line in lines)


def _as_data(profile: Profile) -> dict[str, object]:
    message = profile.message
    tested = [{"path": each.path, "version": each.version, "platform": each.platform} for each in message.tested_with]
    return {
        "name": profile.name,
        "kind": _kind(profile.name).split(",")[0],
        "description": message.description,
        "path": str(profile.path),
        "header": profile.header,
        "tested_with": tested,
        "includes": list(message.include),
        "variables": [variable.name for variable in message.variables],
    }
