"""Lines for terminals: nothing too wide, nothing lost, nothing that is not printable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.text import escape
from stockade.wrap import cells, labelled, paragraph, printable, wrap

WORDS = st.text(st.characters(codec="utf-8"), max_size=200)


@given(WORDS, st.integers(4, 120))
def test_lines_fit_and_lose_nothing_but_blanks(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(cells(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == printable(text).replace(" ", "")
    assert all(line.isprintable() for line in lines)


@given(WORDS)
def test_printable_is_printable_and_leaves_what_is(text: str) -> None:
    once = printable(text)
    assert once.isprintable()
    assert printable(once) == once
    assert printable(escape(text)) == escape(text)


@given(st.lists(st.sampled_from(['a "b  c" d', "x|y", '"\\" "', "{", "action: ALLOW"])), st.integers(4, 60))
def test_code_is_broken_at_blanks_outside_of_quotes_only(parts: list[str], width: int) -> None:
    text = " ".join(parts)
    assert " ".join(wrap(text, width, code=True)) == text


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("abc", 3), ("äé", 2), ("漢字", 4), ("e\u0301", 1), ("ab…", 3)]
)
def test_cells(text: str, expected: int) -> None:
    assert cells(text) == expected


def test_wide_characters_are_cut_by_columns() -> None:
    assert wrap("漢字漢字漢", 5) == ["漢字", "漢字", "漢"]


def test_indentation() -> None:
    assert paragraph("one two three", 10) == ["one two", "  three"]
    assert labelled("why", "a b " + "c" * 30, 40) == [
        "  why       a b",
        "            " + "c" * 28,
        "            cc",
    ]
    assert labelled("", "", 40) == [""]
