"""Compiles a resolved policy to the classic BPF program that the kernel runs at every system call.

The program checks the architecture, then finds the call by a balanced search over the numbers, then tries the rules of
that call in order. What depends on the number alone is decided without reading an argument, so that the kernel can
remember it (its cache of numbers that are always allowed) and not run the program at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from stockade.errors import PolicyError
from stockade.kernel.architectures import X32_BIT, X86_64
from stockade.kernel.seccomp_constants import BPF_MAXINSNS, FREE_EXEC_COOKIE
from stockade.policy.bpf.emit import emit
from stockade.policy.bpf.graph import Graph, Node
from stockade.policy.bpf.instructions import ARCH_WORD, JEQ, JGE, JSET, NR_WORD, Instruction, encode
from stockade.policy.rules import Op, ResolvedCondition, ResolvedPolicy, ResolvedRule
from stockade.policy.verdicts import (
    FOREIGN_VALUE,
    FREE_EXEC_ARGUMENT,
    FREE_EXEC_CALL,
    FREE_EXEC_VALUE,
    filter_value,
)

_FREE_EXEC = ResolvedCondition(FREE_EXEC_ARGUMENT, 64, Op.EQUAL, (FREE_EXEC_COOKIE,))


def compile(resolved: ResolvedPolicy) -> bytes:
    """Give the program of a policy as an array of struct sock_filter; the same policy always gives the same bytes.

    Raises PolicyError when it would be longer than the 4096 instructions that the kernel takes.
    """
    return encode(compile_instructions(resolved))


def compile_instructions(resolved: ResolvedPolicy) -> list[Instruction]:
    """Like `compile`, before packing."""
    graph = Graph()
    foreign = graph.leaf(FOREIGN_VALUE)
    root = _dispatch(graph, _intervals(graph, resolved))
    if resolved.architecture is X86_64:
        root = graph.test(NR_WORD, JSET, X32_BIT, foreign, root)
    root = graph.test(ARCH_WORD, JEQ, resolved.architecture.audit_token, root, foreign)
    instructions = emit(root)
    if len(instructions) > BPF_MAXINSNS:
        raise PolicyError(
            f"the filter would have {len(instructions)} instructions and the kernel takes at most {BPF_MAXINSNS}: "
            f"use fewer argument conditions ({_heaviest(resolved)})"
        )
    return instructions


def _intervals(graph: Graph, resolved: ResolvedPolicy) -> list[tuple[int, Node]]:
    """Give (first number, node) of each run of numbers that are treated alike, in order, beginning with 0."""
    default = graph.leaf(filter_value(resolved.default, resolved.mode, resolved.hooks))
    unknown = graph.leaf(filter_value(resolved.unknown, resolved.mode, resolved.hooks))
    nodes = {number: _call(graph, resolved, rules, default) for number, rules in resolved.by_number.items()}
    free_exec = resolved.architecture.number(FREE_EXEC_CALL)
    nodes[free_exec] = graph.condition(_FREE_EXEC, graph.leaf(FREE_EXEC_VALUE), nodes.get(free_exec, default))
    starts: dict[int, Node] = {0: default, resolved.highest + 1: unknown}
    for number, node in nodes.items():
        starts.setdefault(number + 1, default)
        starts[number] = node
    # Neighbours that lead to the same node are one run.
    intervals: list[tuple[int, Node]] = []
    for start, node in sorted(starts.items(), key=lambda item: item[0]):
        if not intervals or intervals[-1][1] is not node:
            intervals.append((start, node))
    return intervals


def _call(graph: Graph, resolved: ResolvedPolicy, rules: Sequence[ResolvedRule], default: Node) -> Node:
    """Give the node that decides one call: its rules in order, then the default."""
    # Groups overlap: what an earlier rule decides already needs no instruction.
    tried: dict[frozenset[ResolvedCondition], ResolvedRule] = {}
    for rule in rules:
        tried.setdefault(frozenset(rule.conditions), rule)
        if not rule.conditions:
            break
    node = default
    for rule in reversed(tried.values()):
        leaf = graph.leaf(filter_value(rule.action, resolved.mode, resolved.hooks))
        node = graph.conditions(rule.conditions, leaf, node)
    return node


def _dispatch(graph: Graph, intervals: Sequence[tuple[int, Node]]) -> Node:
    """Give the balanced search for the run of numbers that a call lies in."""
    if len(intervals) == 1:
        return intervals[0][1]
    if len(intervals) == 3 and intervals[0][1] is intervals[2][1] and intervals[1][0] + 1 == intervals[2][0]:
        return graph.test(NR_WORD, JEQ, intervals[1][0], intervals[1][1], intervals[0][1])
    middle = len(intervals) // 2
    upper, lower = _dispatch(graph, intervals[middle:]), _dispatch(graph, intervals[:middle])
    return graph.test(NR_WORD, JGE, intervals[middle][0], upper, lower)


def _heaviest(resolved: ResolvedPolicy) -> str:
    """Name the calls that have most conditions, for the error about a filter that is too long."""
    weights = {
        rules[0].syscall: sum(len(condition.values) for rule in rules for condition in rule.conditions)
        for rules in resolved.by_number.values()
    }
    heaviest = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:3]
    return ", ".join(f"{name} has {weight}" for name, weight in heaviest if weight) or "no call has any"
