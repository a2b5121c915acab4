"""Which skips are expected. tests/expected_skips.txt is the list; see its head for the form of a line."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

USERS = ("root", "unprivileged", "any")


@dataclass(frozen=True, slots=True)
class ExpectedSkip:
    """One line: tests (a pattern over node ids), for whom they are skipped, and the exact reason."""

    pattern: str
    user: str
    reason: str

    def covers(self, node_id: str, user: str, reason: str) -> bool:
        """Say whether this line allows that the test is skipped for that user with that reason."""
        # Square brackets are part of the names of parametrized tests; only "*" and "?" are patterns here.
        pattern = self.pattern.replace("[", "[[]")
        return self.user in (user, "any") and self.reason == reason and fnmatchcase(node_id, pattern)


def read_expected_skips(path: Path) -> tuple[ExpectedSkip, ...]:
    """Read the list. Raises ValueError naming the line that is not of the form `tests | user | reason`."""
    expected = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        parts = tuple(part.strip() for part in text.split("|"))
        if len(parts) != 3 or not all(parts) or parts[1] not in USERS:
            raise ValueError(f"{path}:{number}: not of the form 'tests | {' or '.join(USERS)} | reason': {text}")
        expected.append(ExpectedSkip(*parts))
    return tuple(expected)


def unexpected(expected: tuple[ExpectedSkip, ...], skips: list[tuple[str, str]], user: str) -> list[str]:
    """Return the line that would have to be added for each (node id, reason) that no line covers."""
    return [
        f"{node_id} | {user} | {reason}"
        for node_id, reason in skips
        if not any(skip.covers(node_id, user, reason) for skip in expected)
    ]
