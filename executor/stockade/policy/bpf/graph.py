"""The decision graph of a filter: leaves that return a value, and tests of one 32-bit word of struct seccomp_data.

Equal nodes are made once, so that equal leaves and equal tails of different calls share their instructions. A test
whose two branches are the same node is that node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from stockade.policy.bpf.instructions import JEQ, JGE, JGT, JSET, Instruction, high_word, low_word
from stockade.policy.rules import Op, ResolvedCondition

_LOW = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """Ends the program with `value`."""

    value: int


# Not frozen: that would make these, of which there are most, three times as slow to make. Nobody changes them.
@dataclass(slots=True, eq=False)
class Test:
    """Compares word `word`, after `& mask` when `mask` is not 0, with `k` by the BPF jump `operation`."""

    word: int
    mask: int
    operation: int
    k: int
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Runs `instructions` as they are; where they return k, the program goes on at `exits[k]`."""

    instructions: tuple[Instruction, ...]
    exits: tuple[Node, ...]


Node: TypeAlias = Leaf | Test | Block


class GraphTooLargeError(Exception):
    """The blocks of a graph have more instructions than its program may have."""


class Graph:
    """Makes nodes, each different one once. Nodes of two graphs may not be mixed.

    When its blocks have more than `most` instructions, it raises GraphTooLargeError.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most, self._in_blocks = most, 0
        self._leaves: dict[int, Leaf] = {}
        self._tests: dict[tuple[int, int, int, int, int, int], Test] = {}
        self._blocks: dict[tuple[object, ...], Block] = {}

    def leaf(self, value: int) -> Leaf:
        """Give the leaf that returns `value`."""
        return self._leaves.setdefault(value, Leaf(value))

    def test(self, word: int, operation: int, k: int, yes: Node, no: Node, mask: int = 0) -> Node:
        """Give the test of `word` (with `& mask` first unless it is 0) by `operation` (JEQ, JGT, JGE or JSET)."""
        if yes is no or (operation == JGE and k == 0):
            return yes
        if operation == JGT and k == (mask or _LOW):
            return no
        if operation == JSET and isinstance(no, Test) and no.operation == JSET and no.word == word and no.yes is yes:
            # "Any of these bits, or any of those" is one test.
            k, no = k | no.k, no.no
        # Every node lives as long as the graph, so that its id stays its own.
        key = (word, mask, operation, k, id(yes), id(no))
        found = self._tests.get(key)
        if found is None:
            found = self._tests[key] = Test(word, mask, operation, k, yes, no)
        return found

    def block(self, instructions: tuple[Instruction, ...], exits: Sequence[Node]) -> Node:
        """Give the node that runs `instructions` and goes on at the exit whose index they return."""
        key = (instructions, *map(id, exits))
        found = self._blocks.get(key)
        if found is None:
            found = self._blocks[key] = Block(instructions, tuple(exits))
            self._in_blocks += len(instructions)
            if self._most is not None and self._in_blocks > self._most:
                raise GraphTooLargeError
        return found

    def conditions(self, conditions: Sequence[ResolvedCondition], yes: Node, no: Node) -> Node:
        """Give the node that goes on to `yes` when all conditions hold, and to `no` otherwise."""
        for condition in reversed(conditions):
            yes = self.condition(condition, yes, no)
        return yes

    def condition(self, condition: ResolvedCondition, yes: Node, no: Node) -> Node:
        """Give the node that goes on to `yes` when the condition holds, and to `no` otherwise."""
        value = condition.values[0]
        match condition.op:
            case Op.EQUAL | Op.ONE_OF:
                return self._one_of(condition, yes, no)
            case Op.NOT_EQUAL:
                return self._one_of(condition, no, yes)
            case Op.LESS:
                return self._ordered(condition, JGE, value, no, yes)
            case Op.LESS_OR_EQUAL:
                return self._ordered(condition, JGT, value, no, yes)
            case Op.GREATER:
                return self._ordered(condition, JGT, value, yes, no)
            case Op.GREATER_OR_EQUAL:
                return self._ordered(condition, JGE, value, yes, no)
            case Op.MASKED:
                return self._masked(condition, yes, no)
            case Op.NOT_MASKED:
                return self._masked(condition, no, yes)

    def _one_of(self, condition: ResolvedCondition, yes: Node, no: Node) -> Node:
        """Argument equal to one of the values: by high halves first, then by low halves."""
        low, high, narrow = low_word(condition.argument), high_word(condition.argument), _narrow(condition)
        by_high: dict[int, list[int]] = {}
        for value in sorted(set(condition.values)) if len(condition.values) > 1 else condition.values:
            by_high.setdefault(value >> 32, []).append(value & _LOW)
        node = no
        for upper, lowers in reversed(by_high.items()):
            # What follows is often about the same argument: of that, the high half is known by then.
            wide = condition.width == 64
            inner = _with_known(no, high, upper) if wide else no
            if wide:
                node = _with_excluded(node, high, upper)
            for lower in reversed(lowers):
                inner = self.test(low, JEQ, lower, yes, inner, narrow)
            node = self.test(high, JEQ, upper, inner, node) if wide else inner
        return node

    def _ordered(self, condition: ResolvedCondition, operation: int, value: int, yes: Node, no: Node) -> Node:
        """Argument > value (JGT) or >= value (JGE), unsigned in the width of the condition."""
        low, high = low_word(condition.argument), high_word(condition.argument)
        node = self.test(low, operation, value & _LOW, yes, no, _narrow(condition))
        if condition.width == 64:
            node = self.test(high, JEQ, value >> 32, node, no)
            node = self.test(high, JGT, value >> 32, yes, node)
        return node

    def _masked(self, condition: ResolvedCondition, yes: Node, no: Node) -> Node:
        """Argument & mask == value, in one or two halves."""
        value, mask = condition.values[0], condition.mask
        node = self._masked_word(low_word(condition.argument), mask & _LOW, value & _LOW, yes, no)
        if condition.width == 64:
            node = self._masked_word(high_word(condition.argument), mask >> 32, value >> 32, node, no)
        return node

    def _masked_word(self, word: int, mask: int, value: int, yes: Node, no: Node) -> Node:
        if mask == 0:
            return yes
        if value == 0:
            return self.test(word, JSET, mask, no, yes)
        if value == mask and mask & (mask - 1) == 0:
            return self.test(word, JSET, mask, yes, no)
        return self.test(word, JEQ, value, yes, no, 0 if mask == _LOW else mask)


def _with_known(node: Node, word: int, value: int) -> Node:
    """Give where `node` leads to when `word` is known to be `value`."""
    while isinstance(node, Test) and node.word == word and node.operation == JEQ and not node.mask:
        node = node.yes if node.k == value else node.no
    return node


def _with_excluded(node: Node, word: int, value: int) -> Node:
    """Give where `node` leads to when `word` is known not to be `value`."""
    while isinstance(node, Test) and node.word == word and node.operation == JEQ and not node.mask and node.k == value:
        node = node.no
    return node


def _narrow(condition: ResolvedCondition) -> int:
    """Give the mask that a comparison of a narrow argument needs; 0 for none."""
    return 0xFFFF if condition.width == 16 else 0
