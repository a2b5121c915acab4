"""The condition DSL: what it makes, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.conditions import Condition, arg, condition_text, fits_mask, literal, values_of

FORMS: list[tuple[Condition, str, str]] = [
    (arg(1) == "TCGETS", "equal", 'arg(1) == "TCGETS"'),
    (arg(0) != 3, "not_equal", "arg(0) != 3"),
    (arg(2) < 4096, "less", "arg(2) < 0x1000"),
    (arg(2) <= 4095, "less_or_equal", "arg(2) <= 4095"),
    (arg(5) > -1, "greater", "arg(5) > -1"),
    (arg(5) >= "O_CREAT|0x5", "greater_or_equal", 'arg(5) >= "O_CREAT|0x5"'),
    (arg(1).one_of("F_GETFD", 3), "one_of", 'arg(1).one_of("F_GETFD", 3)'),
    (
        arg(3).masked("MAP_SHARED|MAP_PRIVATE", "MAP_PRIVATE"),
        "masked",
        'arg(3).masked("MAP_SHARED|MAP_PRIVATE", "MAP_PRIVATE")',
    ),
    (arg(2).only_bits("PROT_READ|PROT_WRITE"), "no_bits_outside", 'arg(2).only_bits("PROT_READ|PROT_WRITE")'),
]


@pytest.mark.parametrize(("condition", "test", "text"), FORMS, ids=[form[1] for form in FORMS])
def test_each_comparison_makes_its_own_test(condition: Condition, test: str, text: str) -> None:
    assert condition.message.WhichOneof("test") == test
    assert condition_text(condition.message) == repr(condition) == text
    # What is shown can be pasted: evaluated again it makes the same condition.
    assert eval(text, {"arg": arg}) == condition


def test_a_condition_knows_its_argument_and_values() -> None:
    assert (arg(4) == 7).message == policy_pb2.Condition(argument=4, equal="7")
    assert arg(0).one_of(1, "AF_UNIX").message.one_of.value == ["1", "AF_UNIX"]
    assert (arg(0) == 1) == (arg(0) == 1)
    assert (arg(0) == 1) != (arg(0) == 2)
    assert hash(arg(0) == 1) == hash(arg(0) == 1)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: arg(0) == 1 and arg(1) == 2,
        lambda: 1 < arg(0) < 5,
        lambda: not (arg(0) == 1),  # noqa: SIM201
        lambda: arg(0) and (arg(1) == 2),
    ],
    ids=["and", "chain", "not", "bare"],
)
def test_joining_conditions_in_python_is_an_error_and_never_drops_one(misuse: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="condition"):
        misuse()


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: arg(6), "0 to 5"),
        (lambda: arg(-1), "0 to 5"),
        (lambda: arg(True), "0 to 5"),
        (lambda: arg(0) == 2**64, "64 bits"),
        (lambda: arg(0) == -(2**63) - 1, "64 bits"),
        (lambda: arg(0) == True, "cannot be compared"),  # noqa: E712
        (lambda: arg(0) == arg(1), "cannot be compared"),  # type: ignore[operator]
        (lambda: arg(0) == b"x", "cannot be compared"),
        (lambda: arg(0) == "", "empty"),
        (lambda: arg(0) == "O_RDONLY||O_CREAT", "empty"),
        (lambda: arg(0) == "0755", "0o755"),
        (lambda: arg(0).one_of(), "at least one"),
        (lambda: arg(0).masked("PROT_EXEC", "PROT_WRITE"), "outside the mask"),
    ],
)
def test_what_is_no_value_is_refused_at_once(misuse: Callable[[], object], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        misuse()


def test_an_unknown_constant_comes_with_the_closest_known_one() -> None:
    with pytest.raises(PolicyError) as caught:
        arg(1) == "TCGETSS"  # noqa: B015
    assert caught.value.suggestion == "TCGETS"
    assert (arg(1) == "TCGETS").message.equal == "TCGETS"


def test_values_of_gives_one_value_for_each_architecture_that_has_the_symbol() -> None:
    assert values_of("O_DIRECTORY") == (0x10000, 0x4000)
    assert values_of("ARCH_SET_FS") == (0x1002,)
    assert values_of("5") == (5, 5)


@pytest.mark.parametrize(
    ("mask", "value", "fits"),
    [
        ("6", "4", True),
        ("6", "1", False),
        ("-1", "5", True),
        ("0xfffffe7f", "1", True),
        ("1", "0", True),
        ("0x180", "-1", False),
    ],
)
def test_fits_mask(mask: str, value: str, fits: bool) -> None:
    assert fits_mask(mask, value) is fits


@pytest.mark.parametrize(
    ("expression", "source"),
    [
        ("5", "5"),
        ("-1", "-1"),
        ("0x5401", "0x5401"),
        ("0", "0"),
        ("0o755", '"0o755"'),
        ("A|B", '"A|B"'),
        ("05", '"05"'),
        ("--1", '"--1"'),
    ],
)
def test_literals_are_python_source(expression: str, source: str) -> None:
    assert literal(expression) == source
