"""`stockade policy groups`: the group table, or the rules of single groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stockade.cli.answers import OK, guarded
from stockade.cli.help import JSON_HELP
from stockade.cli.output import print_answer, width
from stockade.cli.usage import UsageError, did_you_mean
from stockade.cli.words import Parser

if TYPE_CHECKING:
    from stockade.policy.group_rows.table import Group, Row

COMMAND = "stockade policy groups"
DESCRIPTION = """\
List the named groups of system calls that policies can use,
each with what it lets a program do. With NAME, show exactly
what these groups allow and answer.
"""
EPILOG = """\
exit codes:
  0    printed
  125  wrong usage (an unknown name among it), or our error

examples:
  stockade policy groups
  stockade policy groups tcgets system_malloc
  stockade policy groups --json read
"""


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
    return guarded(lambda: _groups(names, as_json=options.json))


def _groups(names: Sequence[str], *, as_json: bool) -> int:
    from stockade.policy.groups import GROUPS

    for name in names:
        if name not in GROUPS:
            near = did_you_mean(name, GROUPS)
            raise UsageError(COMMAND, f"there is no group {name!r}{near}; without a name, all are listed")
    chosen = [GROUPS[name] for name in dict.fromkeys(names)] or list(GROUPS.values())
    if as_json:
        import json

        print_answer(json.dumps([_as_data(group) for group in chosen], indent=2) + "\n")
    elif names:
        print_answer("\n".join(_details(group, width(1)) for group in chosen))
    else:
        from stockade.cli.table import table

        print_answer(table([(group.name, group.meaning) for group in chosen], width(1)))
    return OK


def _details(group: Group, columns: int) -> str:
    """Return everything about a group: what it is for, how it is written, its rules in the order of trying."""
    from stockade.wrap import paragraph

    text, call = _spelling(group)
    lines = paragraph(f"{group.name}: {group.meaning}", columns)
    lines += paragraph(f"text: {text}", columns, indent="  ", code=True)
    lines += paragraph(f"Python: {call}", columns, indent="  ", code=True)
    if group.parameter is not None:
        lines += paragraph(
            f"It takes {group.parameter.name}; the rules below are for the example.", columns, indent="  "
        )
    for danger in group.reopens:
        lines += paragraph(f'It reopens some of the always-refused calls of "{danger}".', columns, indent="  ")
    for owner, rows in _rows_by_owner(group):
        if owner != group.name:
            lines += paragraph(f"from the group {owner}:", columns, indent="  ")
        elif group.includes:
            lines += paragraph("its own rules:", columns, indent="  ")
        for row in rows:
            lines += paragraph(_row_text(row), columns, indent="  ", code=True)
    return "".join(f"{line}\n" for line in lines)


def _as_data(group: Group) -> dict[str, object]:
    text, call = _spelling(group)
    parameter = group.parameter
    return {
        "name": group.name,
        "meaning": group.meaning,
        "text": text,
        "builder_call": call,
        "includes": list(group.includes),
        "reopens": list(group.reopens),
        "takes": None if parameter is None else {"name": parameter.name, "example": parameter.example},
        "rules": [_row_text(row) for _, rows in _rows_by_owner(group) for row in rows],
    }


def _spelling(group: Group) -> tuple[str, str]:
    """Return how a group is written in a text policy, and as a call of the builder."""
    from stockade._proto import policy_pb2
    from stockade.policy.building.syscalls import method_name
    from stockade.policy.text.format import format_inline

    arguments = [] if group.parameter is None else [group.parameter.example]
    text = f"groups {{ {format_inline(policy_pb2.Group(name=group.name, argument=arguments))} }}"
    shown = ", ".join(f'"{argument}"' for argument in arguments)
    return text, f".{method_name(group.name)}({shown})"


def _rows_by_owner(group: Group) -> list[tuple[str, list[Row]]]:
    """Return all rows of a group, by the group in whose table they stand, each once, in the order of trying."""
    from stockade.policy.groups import GROUPS

    found: list[tuple[str, list[Row]]] = []
    seen: set[int] = set()

    def add(each: Group) -> None:
        for name in each.includes:
            add(GROUPS[name])
        rows = [row for row in each.rows if id(row) not in seen]
        seen.update(map(id, rows))
        if rows:
            found.append((each.name, rows))

    add(group)
    if group.parameter is not None:
        found.append((group.name, [group.parameter.row(group.parameter.example)]))
    return found


def _row_text(row: Row) -> str:
    from stockade.policy.text.format import format_inline

    return f"rules {{ {format_inline(row.rule())} }}"
