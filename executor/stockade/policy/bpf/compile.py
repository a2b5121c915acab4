"""Compiles a resolved policy to the classic BPF program that the kernel runs at every system call.

The program checks the architecture, then finds the call by a balanced search over the numbers, then tries the rules of
that call in order. What depends on the number alone is decided without reading an argument, so that the kernel can
remember it (its cache of numbers that are always allowed) and not run the program at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from stockade.errors import PolicyError
from stockade.kernel.architectures import X32_BIT, X86_64
from stockade.kernel.seccomp_constants import BPF_MAXINSNS, DETECTION_CALL, FREE_EXEC_COOKIE
from stockade.policy.bpf.emit import emit
from stockade.policy.bpf.graph import Graph, GraphTooLargeError, Node
from stockade.policy.bpf.instructions import ARCH_WORD, JEQ, JGE, JSET, NR_WORD, Instruction, encode
from stockade.policy.raw_filters import ALLOW, tightened
from stockade.policy.rules import KILL, LENIENT_MODES, Action, Kind, Op, ResolvedCondition, ResolvedPolicy, ResolvedRule
from stockade.policy.verdicts import (
    DETECTION_VALUE,
    FOREIGN_VALUE,
    FREE_EXEC_ARGUMENT,
    FREE_EXEC_CALL,
    FREE_EXEC_VALUE,
    filter_value,
)

# Single numbers that are tried one after the other: halving them first makes the mean path no shorter.
MAX_CHAIN = 3
_FREE_EXEC = ResolvedCondition(FREE_EXEC_ARGUMENT, 64, Op.EQUAL, (FREE_EXEC_COOKIE,))


def compile(resolved: ResolvedPolicy) -> bytes:
    """Give the program of a policy as an array of struct sock_filter; the same policy always gives the same bytes.

    Raises PolicyError when it would be longer than the 4096 instructions that the kernel takes.
    """
    return encode(compile_instructions(resolved))


def compile_instructions(resolved: ResolvedPolicy) -> list[Instruction]:
    """Like `compile`, before packing."""
    graph = Graph(BPF_MAXINSNS)
    foreign = graph.leaf(FOREIGN_VALUE)
    try:
        root = _dispatch(graph, _intervals(graph, resolved))
    except GraphTooLargeError:
        raise PolicyError(
            f"the filter would have too many instructions and the kernel takes at most {BPF_MAXINSNS}: a raw filter is "
            "copied for each answer of those before it, and for calls whose rules differ. Use fewer and shorter ones"
        ) from None
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
    unknown = graph.leaf(filter_value(resolved.unknown, resolved.mode, resolved.hooks, refused=True))
    numbers = {**resolved.by_number, **resolved.raw_by_number}
    nodes = {number: _filtered(graph, resolved, number, {}) for number in numbers}
    free_exec = resolved.architecture.number(FREE_EXEC_CALL)
    nodes[free_exec] = graph.condition(_FREE_EXEC, graph.leaf(FREE_EXEC_VALUE), nodes.get(free_exec, default))
    starts: dict[int, Node] = {0: default, resolved.highest + 1: unknown}
    for number, node in nodes.items():
        starts.setdefault(number + 1, default)
        starts[number] = node
    starts |= {DETECTION_CALL: graph.leaf(DETECTION_VALUE), DETECTION_CALL + 1: unknown}
    # Neighbours that lead to the same node are one run.
    intervals: list[tuple[int, Node]] = []
    for start, node in sorted(starts.items(), key=lambda item: item[0]):
        if not intervals or intervals[-1][1] is not node:
            intervals.append((start, node))
    return intervals


def _filtered(
    graph: Graph,
    resolved: ResolvedPolicy,
    number: int,
    known: dict[tuple[Action, int], Node],
    raw: Action = ALLOW,
    tried: int = 0,
) -> Node:
    """Give the node that decides one call: its raw filters from the one with index `tried` on, then its rules.

    `raw` is what the filters before have said. Each of their answers leads to a copy of the rest, in which it holds
    where the rest says less. `known` holds the copies that there are.
    """
    filters = resolved.raw_by_number.get(number, ())
    if raw.kind is Kind.KILL:
        return _killed(graph, resolved, number)
    if tried == len(filters):
        return _call(graph, resolved, number, raw)
    found = known.get((raw, tried))
    if found is None:
        actions = [tightened(raw, action) for action in filters[tried].actions]
        exits = [_filtered(graph, resolved, number, known, action, tried + 1) for action in actions]
        found = known[raw, tried] = graph.block(filters[tried].instructions, exits)
    return found


def _call(graph: Graph, resolved: ResolvedPolicy, number: int, raw: Action) -> Node:
    """Give the node that decides one call by its rules in order, then the default; each tightened by `raw`."""

    def leaf(action: Action, refused: bool) -> Node:
        return graph.leaf(filter_value(tightened(action, raw), resolved.mode, resolved.hooks, refused=refused))

    # All always-refused rows of the call were tried before the default.
    node, last, answer = leaf(resolved.default, False), None, None
    for rule in reversed(_deciding(resolved.by_number.get(number, ()))):
        if answer is None or last is None or (rule.action, rule.danger) != (last.action, last.danger):
            kills = rule.action.kind is Kind.KILL and not rule.danger
            last, answer = rule, _killed(graph, resolved, number) if kills else leaf(rule.action, bool(rule.danger))
        node = graph.conditions(rule.conditions, answer, node)
    return node


def _killed(graph: Graph, resolved: ResolvedPolicy, number: int) -> Node:
    """Give the node for a call that a rule or a raw filter kills. Where the mode lets violations happen, the rows of
    always-refused calls say which of them it does not let happen, also when they stand behind that rule.
    """
    node: Node = graph.leaf(filter_value(KILL, resolved.mode, resolved.hooks))
    if resolved.mode in LENIENT_MODES:
        refused = graph.leaf(filter_value(KILL, resolved.mode, resolved.hooks, refused=True))
        for rule in reversed(resolved.by_number.get(number, ())):
            if rule.danger:
                node = graph.conditions(rule.conditions, refused, node)
    return node


def _deciding(rules: Sequence[ResolvedRule]) -> Sequence[ResolvedRule]:
    """Give the rules of a call without those that an earlier one leaves nothing to decide: groups overlap."""
    if len(rules) == 1:
        return rules
    tried: dict[frozenset[ResolvedCondition], ResolvedRule] = {}
    for rule in rules:
        tried.setdefault(frozenset(rule.conditions), rule)
        if not rule.conditions:
            break
    return list(tried.values())


def _dispatch(graph: Graph, intervals: Sequence[tuple[int, Node]], end: int = 1 << 32) -> Node:
    """Give the balanced search for the run of numbers that a call lies in; all are below `end`."""
    if len(intervals) == 1:
        return intervals[0][1]
    if len(intervals) <= 2 * MAX_CHAIN + 1:
        chain = _chain(graph, intervals, end)
        if chain is not None:
            return chain
    middle = len(intervals) // 2
    upper = _dispatch(graph, intervals[middle:], end)
    lower = _dispatch(graph, intervals[:middle], intervals[middle][0])
    return graph.test(NR_WORD, JGE, intervals[middle][0], upper, lower)


def _chain(graph: Graph, intervals: Sequence[tuple[int, Node]], end: int) -> Node | None:
    """Give the comparison with one single number after the other; None where that is not the shortest way."""
    ends = [start for start, _ in intervals[1:]] + [end]
    singles = [each for each, after in zip(intervals, ends, strict=True) if each[0] + 1 == after]
    others = {node for (start, node), after in zip(intervals, ends, strict=True) if start + 1 != after}
    if len(singles) > MAX_CHAIN or len(others) != 1:
        return None
    (node,) = others
    for number, single in reversed(singles):
        node = graph.test(NR_WORD, JEQ, number, single, node)
    return node


def _heaviest(resolved: ResolvedPolicy) -> str:
    """Name the calls that have most conditions, for the error about a filter that is too long."""
    weights = {
        rules[0].syscall: sum(len(condition.values) for rule in rules for condition in rule.conditions)
        for rules in resolved.by_number.values()
    }
    heaviest = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:3]
    return ", ".join(f"{name} has {weight}" for name, weight in heaviest if weight) or "no call has any"
