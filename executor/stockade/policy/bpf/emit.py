"""Lays a decision graph out as BPF instructions, from the last to the first.

Each test is at most three instructions: load the word, mask it, jump. A test that is only reached with its word already
loaded has no load. Going backwards, every target is known when a jump to it is laid out; one that is too far away gets
a stepping stone: a copy of a leaf, or a `ja`.
"""

from __future__ import annotations

from stockade.policy.bpf.graph import Block, Leaf, Node, Test
from stockade.policy.bpf.instructions import ALU, AND, JA, JMP, LOAD_WORD, MAX_JUMP, RET_K, Instruction

# The step of a test at which it is entered: its load, or the mask or the comparison when the accumulator already holds
# what is needed. Everything else is entered at its only step.
_LOAD, _MASK, _COMPARE = range(3)


def emit(root: Node) -> list[Instruction]:
    """Give the instructions of the graph below `root`, in the order in which the kernel takes them."""
    order = _backwards(root)
    steps = {root: 1 << _entry(None, root)}
    for node in order:
        previous = node if type(node) is Test else None
        for successor in _successors(node):
            steps[successor] = steps.get(successor, 0) | 1 << _entry(previous, successor)
    layout = _Layout()
    for node in order:
        layout.add(node, steps[node])
    return layout.instructions[::-1]


def _backwards(root: Node) -> list[Node]:
    """Give every node below `root` once, each after the two that it leads to. Without recursion: chains are long."""
    order: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = [root]
    while stack:
        node = stack[-1]
        if node in seen:
            order[stack.pop()] = None
        else:
            seen.add(node)
            # The branch that is visited last lies nearest to its test.
            stack += _successors(node)
    return list(order)


def _successors(node: Node) -> tuple[Node, ...]:
    if type(node) is Test:
        return node.yes, node.no
    return node.exits if isinstance(node, Block) else ()


def _entry(previous: Test | None, node: Node) -> int:
    """Give the first step of `node` that is needed after `previous`, which left its word in the accumulator."""
    if type(node) is not Test:
        return _COMPARE
    if previous is None or previous.word != node.word or previous.mask not in (0, node.mask):
        return _LOAD
    return _COMPARE if previous.mask == node.mask else _MASK


class _Layout:
    """Instructions from the last to the first; a position is counted from the end of the program."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        # By step and node.
        self._positions: tuple[dict[Node, int], ...] = ({}, {}, {})

    def add(self, node: Node, steps: int) -> None:
        """Lay out `node` in front of everything that it leads to, with the steps (bits) at which it is entered."""
        if type(node) is Test:
            self._add_test(node, steps)
        elif isinstance(node, Block):
            self._add_block(node)
        elif isinstance(node, Leaf):
            self._put(node, _COMPARE, Instruction(RET_K, 0, 0, node.value))

    def _add_test(self, test: Test, steps: int) -> None:
        yes, no = test.yes, test.no
        yes_step, no_step = _entry(test, yes), _entry(test, no)
        while True:
            length = len(self.instructions)
            jt, jf = length - self._positions[yes_step][yes], length - self._positions[no_step][no]
            if jt <= MAX_JUMP and jf <= MAX_JUMP:
                break
            self._add_stone(yes, yes_step, jt) if jt >= jf else self._add_stone(no, no_step, jf)
        self._put(test, _COMPARE, Instruction(JMP | test.operation, jt, jf, test.k))
        if test.mask and steps & (1 << _LOAD | 1 << _MASK):
            self._put(test, _MASK, Instruction(ALU | AND, 0, 0, test.mask))
        if steps & 1 << _LOAD:
            self._put(test, _LOAD, Instruction(LOAD_WORD, 0, 0, test.word * 4))

    def _add_block(self, block: Block) -> None:
        """Lay out a block: its returns become jumps, which reach anywhere, so that its own offsets stay right."""
        for instruction in reversed(block.instructions):
            if instruction.code == RET_K:
                node = block.exits[instruction.k]
                offset = len(self.instructions) - self._positions[_entry(None, node)][node]
                instruction = Instruction(JMP | JA, k=offset)
            self.instructions.append(instruction)
        self._positions[_COMPARE][block] = len(self.instructions)

    def _add_stone(self, node: Node, step: int, offset: int) -> None:
        """Lay out something within reach that leads to `node`, which is `offset` instructions away."""
        if isinstance(node, Leaf):
            self._put(node, step, Instruction(RET_K, 0, 0, node.value))
        else:
            self._put(node, step, Instruction(JMP | JA, k=offset))

    def _put(self, node: Node, step: int, instruction: Instruction) -> None:
        self.instructions.append(instruction)
        self._positions[step][node] = len(self.instructions)
