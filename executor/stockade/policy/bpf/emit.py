"""Lays a decision graph out as BPF instructions, from the last to the first.

Each test is at most three instructions: load the word, mask it, jump. A test that is only reached with its word already
loaded has no load. Going backwards, every target is known when a jump to it is laid out; one that is too far away gets
a stepping stone: a copy of a leaf, or a `ja`.
"""

from __future__ import annotations

from typing import TypeAlias

from stockade.policy.bpf.graph import Leaf, Node, Test
from stockade.policy.bpf.instructions import ALU, AND, JA, JMP, LOAD_WORD, MAX_JUMP, RET_K, Instruction

# The entry of a test that skips its load, or its load and mask, when the accumulator already holds what it needs.
_LOAD, _MASK, _COMPARE = range(3)
_Entry: TypeAlias = tuple[Node, int]


def emit(root: Node) -> list[Instruction]:
    """Give the instructions of the graph below `root`, in the order in which the kernel takes them."""
    order = _backwards(root)
    layout = _Layout()
    needed = {(root, _entry(None, root))}
    for node in order:
        if isinstance(node, Test):
            needed.update((successor, _entry(node, successor)) for successor in (node.yes, node.no))
    for node in order:
        layout.add(node, needed)
    return layout.instructions[::-1]


def _backwards(root: Node) -> list[Node]:
    """Give every node below `root` once, each after the two that it leads to. Without recursion: chains are long."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, finished = stack.pop()
        if finished:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if isinstance(node, Test):
                # The branch that is visited last lies nearest to its test.
                stack.extend([(node.yes, False), (node.no, False)])
    return order


def _entry(previous: Test | None, node: Node) -> int:
    """Give the first step of `node` that is needed after `previous`, which left its word in the accumulator."""
    if isinstance(node, Leaf):
        return _COMPARE
    if previous is None or previous.word != node.word or previous.mask not in (0, node.mask):
        return _LOAD
    return _COMPARE if previous.mask == node.mask else _MASK


class _Layout:
    """Instructions from the last to the first; a position is counted from the end of the program."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self._position: dict[_Entry, int] = {}

    def add(self, node: Node, needed: set[_Entry]) -> None:
        """Lay out `node` in front of everything that it leads to, with the steps that somebody needs."""
        if isinstance(node, Leaf):
            self._put((node, _COMPARE), Instruction(RET_K, k=node.value))
            return
        yes, no = (node.yes, _entry(node, node.yes)), (node.no, _entry(node, node.no))
        jt, jf = self._reach(yes, no)
        self._put((node, _COMPARE), Instruction(JMP | node.operation, jt, jf, node.k))
        entries = {entry for reached, entry in ((node, _LOAD), (node, _MASK)) if (reached, entry) in needed}
        if node.mask and entries:
            self._put((node, _MASK), Instruction(ALU | AND, k=node.mask))
        if _LOAD in entries:
            self._put((node, _LOAD), Instruction(LOAD_WORD, k=node.word * 4))

    def _put(self, entry: _Entry, instruction: Instruction) -> None:
        self.instructions.append(instruction)
        self._position[entry] = len(self.instructions)

    def _offset(self, entry: _Entry) -> int:
        """Give how many instructions a jump that is laid out next has to skip to get to `entry`."""
        return len(self.instructions) - self._position[entry]

    def _reach(self, yes: _Entry, no: _Entry) -> tuple[int, int]:
        """Give the offsets of a conditional jump that is laid out next, after laying out stepping stones for it."""
        while True:
            far = max(yes, no, key=self._offset)
            if self._offset(far) <= MAX_JUMP:
                return self._offset(yes), self._offset(no)
            node = far[0]
            if isinstance(node, Leaf):
                self._put(far, Instruction(RET_K, k=node.value))
            else:
                self._put(far, Instruction(JMP | JA, k=self._offset(far)))
