"""Code blocks of Markdown files, and how the documentation says whether they are run.

A block is run according to its language:

    python          as a script, always
    console         the lines that begin with "$ ", in one shell; the others show output. After `<!-- run -->`
    sh, bash        the whole block. After `<!-- run -->`
    textproto       is loaded as a policy, always
    text            shows something; nothing is to be run

`<!-- run: exits N -->` before a block says that its exit status is N and not 0. `<!-- not run: REASON -->` says why a
block is not run. A block that needs a mark and has none is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ALWAYS_RUN = ("python", "textproto")
RUN_WHEN_MARKED = ("console", "sh", "bash")
SHOWN_ONLY = ("text",)
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+)(?P<language>[\w+-]*)\s*$")
RUN = re.compile(r"<!-- run(?:: exits (?P<status>\d+))? -->")
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.*\S) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """One code block. `status` is the exit status that it has to have, None when it is not run."""

    path: Path
    line: int
    language: str
    code: str
    status: int | None

    def script(self) -> str:
        """Return what the interpreter or the shell gets."""
        if self.language != "console":
            return self.code
        lines = self.code.splitlines()
        commands: list[str] = []
        for number, line in enumerate(lines):
            continued = number > 0 and lines[number - 1].endswith("\\") and commands
            if line.startswith("$ ") or continued:
                commands.append(line.removeprefix("$ "))
        return "\n".join(commands) + "\n"


def read_blocks(path: Path) -> list[Block]:
    """Return the blocks of a Markdown file. Raises ValueError naming the line of one that is wrongly marked."""
    blocks = []
    lines = path.read_text().splitlines()
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        number += 1
        if opening is None:
            continue
        start = number
        while number < len(lines) and lines[number].strip() != opening["fence"]:
            number += 1
        if number == len(lines):
            raise ValueError(f"{path.name}:{start}: this block has no end")
        code = "".join(f"{line.removeprefix(opening['indent'])}\n" for line in lines[start:number])
        place = f"{path.name}:{start}"
        mark = _mark_before(lines, start - 1)
        blocks.append(Block(path, start, opening["language"], code, _status(place, opening["language"], mark)))
        number += 1
    return blocks


def _mark_before(lines: list[str], index: int) -> str:
    """Return the last line before lines[index] that is not empty."""
    return next((line.strip() for line in reversed(lines[:index]) if line.strip()), "")


def _status(place: str, language: str, mark: str) -> int | None:
    """Return the exit status that a block has to have; None when it is not run."""
    if language in SHOWN_ONLY or NOT_RUN.fullmatch(mark):
        return None
    run = RUN.fullmatch(mark)
    if language in ALWAYS_RUN or (run and language in RUN_WHEN_MARKED):
        return int(run["status"] or 0) if run else 0
    raise ValueError(
        f"{place}: put <!-- run --> or <!-- not run: reason --> before this block ({language or 'no language'})"
    )
