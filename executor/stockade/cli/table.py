"""Names with their meanings in two columns."""

from __future__ import annotations

from collections.abc import Sequence

from stockade.wrap import cells, printable, wrap

# A narrower column for meanings would be hard to read: they go to the line below their names then.
_NARROWEST = 34
_INDENT = "    "


def table(rows: Sequence[tuple[str, str]], width: int, indent: str = "") -> str:
    """Return rows of (name, meaning) as lines of at most `width` columns, made printable; names are never broken."""
    names = [printable(name) for name, _ in rows]
    column = max((cells(name) for name in names), default=0) + 2
    beside = width - len(indent) - column >= _NARROWEST
    lines: list[str] = []
    for name, (_, meaning) in zip(names, rows, strict=True):
        if beside:
            first, *rest = wrap(meaning, width - len(indent) - column)
            lines.append(f"{indent}{name}{' ' * (column - cells(name))}{first}".rstrip())
            lines += [f"{indent}{' ' * column}{line}" for line in rest]
        else:
            lines.append(f"{indent}{name}")
            lines += [f"{indent}{_INDENT}{line}" for line in wrap(meaning, width - len(indent) - len(_INDENT))]
    return "".join(f"{line}\n" for line in lines)
