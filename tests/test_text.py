"""Escaping of hostile text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.text import escape, quote


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain ünïcode 漢字", "plain ünïcode 漢字"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("back\\slash", "back\\\\slash"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("\x9b31m", "\\u009b31m"),
        (b"\x9b31m", "\\x9b31m"),
        (b"\xc2\x9b31m", "\\u009b31m"),
        ("exe\u202egpj", "exe\\u202egpj"),
        ("a\u2066b\u2069\u200e", "a\\u2066b\\u2069\\u200e"),
        ("line\u2028line\u0085", "line\\u2028line\\u0085"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff\ud800", "\\xff\\ud800"),
    ],
)
def test_what_is_escaped(value: str | bytes, shown: str) -> None:
    assert escape(value) == shown


@given(st.binary() | st.text(st.characters(codec=None)))
def test_nothing_unprintable_is_left(value: str | bytes) -> None:
    assert escape(value).isprintable()
    assert quote(value).isprintable()


@given(st.binary(), st.binary())
def test_different_bytes_are_shown_differently(one: bytes, other: bytes) -> None:
    assert (escape(one) == escape(other)) is (one == other)


def test_a_quoted_value_cannot_end_its_quotes() -> None:
    assert quote('say "hi"\\') == '"say \\"hi\\"\\\\"'


def test_what_is_cut_is_marked_behind_the_quotes() -> None:
    assert quote("x" * 10, limit=4) == '"xxxx"…'
    assert quote("xxxx", limit=4) == '"xxxx"'
    assert quote("xxx…", limit=4) == '"xxx…"'
