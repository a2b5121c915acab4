"""Sizes and durations as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.units import LARGEST_SIZE, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("12B", 12),
        ("512K", 512 << 10),
        ("64M", 64 << 20),
        ("64m", 64 << 20),
        ("64MiB", 64 << 20),
        ("1.5GiB", 3 << 29),
        ("2 TiB", 2 << 40),
        ("0.5K", 512),
        (str(LARGEST_SIZE), LARGEST_SIZE),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a number"),
        ("-1", "not a number"),
        ("M", "not a number"),
        (".5M", "not a number"),
        ("5.M", "not a number"),
        ("1e6", "unknown unit 'e6'"),
        ("64MB", "could be 1000 or 1024"),
        ("64X", "unknown unit 'X'"),
        ("64iB", "unknown unit"),
        ("1_000", "unknown unit"),
        ("٣", "not a number"),
        ("9223372036854775808", "larger than the kernel"),
        ("9999999P", "larger than the kernel"),
        ("9" * 5000, "not a number"),
    ],
)
def test_what_is_no_size(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_size(text)


@given(st.integers(0, LARGEST_SIZE))
def test_a_formatted_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("5s", 5.0),
        ("5", 5.0),
        ("0.25", 0.25),
        ("2m", 120.0),
        ("1.5h", 5400.0),
        ("1d", 86400.0),
        ("0", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1h30m", "1M", "inf", "nan", "1e3", "40000d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|unit|hundred years"):
        parse_duration(text)
