"""The checks of the compiler have teeth: planted mistakes are found, by the self-check and by the property test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from policy.bpf_strategies import ALLOW, CHECKED, condition, policies, policy, rule
from policy.test_compile import test_program_and_evaluator_agree as property_test
from stockade.errors import MonitorError, PolicyError
from stockade.kernel.architectures import X86_64
from stockade.policy.bpf import compile as compiler
from stockade.policy.bpf import emit, graph
from stockade.policy.bpf.graph import Graph, Node
from stockade.policy.bpf.instructions import ARCH_WORD, ARGS_WORD, JA, JEQ, JGE, JGT, JMP, JSET, NR_WORD, Instruction
from stockade.policy.rules import Action, Kind, Op, ResolvedCondition, ResolvedPolicy
from stockade.policy.selfcheck import check_program

Patch = Callable[[pytest.MonkeyPatch], None]
_test, _condition, _intervals = Graph.test, Graph.condition, compiler._intervals
_deciding, _with_known = compiler._deciding, graph._with_known


def width(before: int, after: int) -> Patch:
    """Compare arguments of one width in another."""

    def condition(self: Graph, tested: ResolvedCondition, yes: Node, no: Node) -> Node:
        if tested.width == before:
            top = (1 << after) - 1
            values = tuple(value & top for value in tested.values)
            tested = replace(tested, width=after, values=values, mask=tested.mask & top)
        return _condition(self, tested, yes, no)

    return lambda patch: patch.setattr(Graph, "condition", condition)


def of_tests(change: Callable[..., tuple[Any, ...] | Node | None]) -> Patch:
    """Let `change` say what becomes of a test: other arguments of `Graph.test`, a node, or None for no change."""

    def test(self: Graph, word: int, operation: int, k: int, yes: Node, no: Node, mask: int = 0) -> Node:
        changed = change(word, operation, k, yes, no, mask)
        if changed is None:
            return _test(self, word, operation, k, yes, no, mask)
        return _test(self, *changed) if isinstance(changed, tuple) else changed

    return lambda patch: patch.setattr(Graph, "test", test)


def swapped(operation: int) -> Patch:
    """Take the wrong branch of every test of an argument by one operation."""
    return of_tests(
        lambda word, used, k, yes, no, mask: (
            (word, used, k, no, yes, mask) if used == operation and word >= ARGS_WORD else None
        )
    )


def off_by_one(operation: int) -> Patch:
    """Look for the number next to the right one."""
    return of_tests(
        lambda word, used, k, yes, no, mask: (
            (word, used, k + 1, yes, no, mask) if used == operation and word == NR_WORD else None
        )
    )


def without(word: int, operation: int, *, keep_yes: bool) -> Patch:
    """Leave a test out."""
    return of_tests(
        lambda tested, used, k, yes, no, mask: (
            (yes if keep_yes else no) if (tested, used) == (word, operation) else None
        )
    )


def attribute(owner: object, name: str, value: object) -> Patch:
    return lambda patch: patch.setattr(owner, name, value)


def wrong_order(rules: Sequence[Any]) -> Sequence[Any]:
    return list(_deciding(list(rules)[::-1]))


def shorter_intervals(graph: Graph, resolved: Any) -> list[tuple[int, Node]]:
    """Forget the last run of numbers: those that are not known."""
    return _intervals(graph, resolved)[:-1]


def known_to_be_equal(node: Node, word: int, value: int) -> Node:
    """Believe that a test for another value is true as well."""
    return node.yes if node is not _with_known(node, word, value) and isinstance(node, graph.Test) else node


MUTATIONS: dict[str, Patch] = {
    "64 bits for 32": width(32, 64),
    "32 bits for 64": width(64, 32),
    "16 bits for 32": width(32, 16),
    "32 bits for 16": width(16, 32),
    "no mask for 16 bits": attribute(graph, "_narrow", lambda _condition: 0),
    "branches of == swapped": swapped(JEQ),
    "branches of > swapped": swapped(JGT),
    "branches of >= swapped": swapped(JGE),
    "branches of & swapped": swapped(JSET),
    "next number in the search": off_by_one(JGE),
    "next number in a chain": off_by_one(JEQ),
    "x32 is not looked at": without(NR_WORD, JSET, keep_yes=False),
    "architecture is not looked at": without(ARCH_WORD, JEQ, keep_yes=True),
    "last rule first": attribute(compiler, "_deciding", wrong_order),
    "numbers above the table": attribute(compiler, "_intervals", shorter_intervals),
    "half of the cookie": attribute(compiler, "_FREE_EXEC", replace(compiler._FREE_EXEC, argument=4)),
    "a high half believed to be known": attribute(graph, "_with_known", known_to_be_equal),
    "a mask is forgotten": attribute(Graph, "_masked_word", lambda _self, *given: given[3]),
}

# Beyond CHECKED: rules of one call whose 64-bit values differ in their high halves only.
POLICY = policy(
    *CHECKED.rules,
    rule("pread64", ALLOW, condition(3, 64, Op.EQUAL, 5 << 32)),
    rule("pread64", Action(Kind.ERRNO, errno=7), condition(3, 64, Op.EQUAL, 6 << 32 | 1)),
    rule("fadvise64", ALLOW, condition(1, 64, Op.GREATER_OR_EQUAL, 3 << 32)),
    default=CHECKED.default,
    unknown=CHECKED.unknown,
)


def test_without_a_mutation_nothing_is_found() -> None:
    assert check_program(POLICY, compiler.compile(POLICY)) > len(X86_64.names)
    random_policies()


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_self_check_finds_it(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = compiler.compile(POLICY)
    MUTATIONS[mutation](monkeypatch)
    wrong = compiler.compile(POLICY)
    assert wrong != right, "the mutation changes nothing"
    with pytest.raises(MonitorError, match="nothing was started"):
        check_program(POLICY, wrong)


# This one needs a call with the high half of one rule and the low half of the next: rare among random ones.
RARE = {"a high half believed to be known"}


@pytest.mark.parametrize("mutation", sorted(set(MUTATIONS) - RARE))
def test_the_comparison_on_random_policies_finds_it(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[mutation](monkeypatch)
    with pytest.raises((AssertionError, PolicyError)):
        random_policies()


@settings(max_examples=300, derandomize=True, database=None, phases=[Phase.generate], print_blob=False)
@given(policies(), st.integers(0, 1 << 32))
def random_policies(resolved: ResolvedPolicy, seed: int) -> None:
    """The property test of the compiler, always with the same policies and calls."""
    property_test.hypothesis.inner_test(resolved, seed)  # type: ignore[attr-defined]


# --- jumps that are too far for one instruction: only long programs have them ---


def chain(length: int) -> Any:
    """A policy whose program is `length` comparisons long for one call, with different answers at the ends."""
    rules = [
        rule("ioctl", Action(Kind.ERRNO, errno=1 + index % 7), condition(1, 32, Op.EQUAL, 3 * index))
        for index in range(length)
    ]
    return policy(*rules, rule("openat", ALLOW), rule("openat", ALLOW, condition(2, 32, Op.EQUAL, 5)))


def truncated(self: Any, node: Node, step: int, offset: int) -> None:
    """Jump as far as eight bits say."""
    emit._Layout._put(self, node, step, Instruction(JMP | JA, k=offset & 0xFF))


def one_too_far(self: Any, node: Node, step: int, offset: int) -> None:
    emit._Layout._put(self, node, step, Instruction(JMP | JA, k=offset + 1))


@pytest.mark.parametrize("stone", [truncated, one_too_far])
def test_a_wrong_long_jump_is_found(stone: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = chain(300)
    right = compiler.compile(resolved)
    check_program(resolved, right)
    monkeypatch.setattr(emit._Layout, "_add_stone", stone)
    wrong = compiler.compile(resolved)
    assert wrong != right
    with pytest.raises((MonitorError, PolicyError)):
        check_program(resolved, wrong)
