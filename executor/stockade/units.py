"""Sizes and durations as people write them in policies and on the command line. Every floor may import this module."""

from __future__ import annotations

SIZE_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
DURATION_FACTORS = {"": 1.0, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LARGEST_SIZE = (1 << 63) - 1
LONGEST_DURATION = 86400.0 * 36500
_SIZE_FORMS = "write a number of bytes or one with K, M, G, T or P (powers of 1024), for example 64M or 1.5GiB"
_DURATION_FORMS = "write a number of seconds or one with ms, s, m, h or d, for example 500ms or 2m"
_DIGITS = frozenset("0123456789")


def _split(text: str, forms: str) -> tuple[str, str, str]:
    """Split "1.5GiB" into ("1", "5", "GiB"). ValueError with `forms` in it when it is not a plain decimal number."""
    stripped = text.strip(" ")
    end = 0
    while end < len(stripped) and (stripped[end] in _DIGITS or stripped[end] == "."):
        end += 1
    number, unit = stripped[:end], stripped[end:].strip(" ")
    whole, dot, fraction = number.partition(".")
    if not whole or "." in fraction or (dot and not fraction) or end > 40:
        raise ValueError(f"{text!r} is not a number with a unit: {forms}")
    return whole, fraction, unit


def parse_size(text: str) -> int:
    """Return the bytes that `text` means: "4096", "512K", "64M", "64MiB", "1.5GiB". Fractions of a byte are dropped.

    K, M, G, T and P are powers of 1024, with or without "iB"; case does not matter. "MB" and the like are refused,
    because people disagree about what they mean. ValueError says what is wrong and which forms there are.
    """
    whole, fraction, unit = _split(text, _SIZE_FORMS)
    letter = unit.upper()
    if letter == "B":
        letter = ""
    elif letter.endswith("IB"):
        letter = letter[:-2] or "?"
    if letter not in SIZE_FACTORS:
        meaning = f" ({letter[0]}B could be 1000 or 1024)" if letter[1:] == "B" and letter[:1] in SIZE_FACTORS else ""
        raise ValueError(f"{text!r} has the unknown unit {unit!r}{meaning}: {_SIZE_FORMS}")
    size: int = int(whole + fraction) * SIZE_FACTORS[letter] // 10 ** len(fraction)
    if size > LARGEST_SIZE:
        raise ValueError(f"{text!r} is larger than the kernel can count (2**63 - 1 bytes)")
    return size


def parse_duration(text: str) -> float:
    """Return the seconds that `text` means: "500ms", "5s", "2m", "1.5h", "0.25"; without a unit it is seconds.

    ValueError says what is wrong and which forms there are. Longer than a hundred years is refused.
    """
    whole, fraction, unit = _split(text, _DURATION_FORMS)
    if unit not in DURATION_FACTORS:
        raise ValueError(f"{text!r} has the unknown unit {unit!r}: {_DURATION_FORMS}")
    seconds = float(f"{whole}.{fraction or '0'}") * DURATION_FACTORS[unit]
    if seconds > LONGEST_DURATION:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return seconds


def format_size(size: int) -> str:
    """Return bytes in the shortest exact form that `parse_size` reads: 67108864 -> "64M", 1000 -> "1000"."""
    for letter in "PTGMK":
        if size and size % SIZE_FACTORS[letter] == 0:
            return f"{size // SIZE_FACTORS[letter]}{letter}"
    return str(size)
