"""Refuses BPF programs that the kernel would refuse: bpf_check_classic and seccomp_check_filter of Linux 6.18."""

from __future__ import annotations

from collections.abc import Sequence

from stockade.errors import PolicyError
from stockade.kernel.seccomp_constants import BPF_MAXINSNS
from stockade.policy.bpf.instructions import (
    ABS,
    ADD,
    ALU,
    AND,
    DATA_SIZE,
    DIV,
    IMM,
    JA,
    JEQ,
    JGE,
    JGT,
    JMP,
    JSET,
    LD,
    LDX,
    LEN,
    LSH,
    MEM,
    MISC,
    MUL,
    NEG,
    OR,
    RET_A,
    RET_K,
    RSH,
    ST,
    STX,
    SUB,
    TAX,
    TXA,
    XOR,
    Instruction,
    K,
    X,
)

MEMORY_WORDS = 16
_ALL_MEMORY = (1 << MEMORY_WORDS) - 1

_BINARY = (ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, XOR)
_CONDITIONAL = (JEQ, JGT, JGE, JSET)
_MEMORY_LOADS = (LD | MEM, LDX | MEM)
_MEMORY_STORES = (ST, STX)
PERMITTED = frozenset(
    [LD | ABS, LD | LEN, LDX | LEN, LD | IMM, LDX | IMM, *_MEMORY_LOADS, *_MEMORY_STORES, RET_K, RET_A]
    + [ALU | operation | source for operation in _BINARY for source in (K, X)]
    + [ALU | NEG, MISC | TAX, MISC | TXA, JMP | JA]
    + [JMP | operation | source for operation in _CONDITIONAL for source in (K, X)]
)


def validate(instructions: Sequence[Instruction]) -> None:
    """Raise PolicyError, naming the instruction, unless the kernel would accept the program as a seccomp filter."""
    length = len(instructions)
    if not 1 <= length <= BPF_MAXINSNS:
        raise PolicyError(f"a BPF program of {length} instructions: the kernel takes 1 to {BPF_MAXINSNS}")
    for index, instruction in enumerate(instructions):
        problem = _problem(instruction, length - index - 1)
        if problem:
            raise PolicyError(f"BPF instruction {index}: {problem}")
    if instructions[-1].code not in (RET_K, RET_A):
        raise PolicyError(f"BPF instruction {length - 1}: the last instruction must be a return")
    _check_memory(instructions)


def _problem(instruction: Instruction, remaining: int) -> str:
    """Say what is wrong with one instruction that `remaining` others follow; empty when nothing is."""
    code, jt, jf, k = instruction
    if code not in PERMITTED:
        return f"code {code:#06x} is not permitted in a seccomp filter"
    if code == LD | ABS and (k >= DATA_SIZE or k % 4):
        return f"load from offset {k}: struct seccomp_data has the aligned offsets 0 to {DATA_SIZE - 4}"
    if code == ALU | DIV | K and k == 0:
        return "division by the constant 0"
    if code in (ALU | LSH | K, ALU | RSH | K) and k >= 32:
        return f"shift by {k} bits"
    if code in (*_MEMORY_LOADS, *_MEMORY_STORES) and k >= MEMORY_WORDS:
        return f"memory word {k} of {MEMORY_WORDS}"
    if code == JMP | JA and k >= remaining:
        return f"jump of {k} past the end"
    if code & 7 == JMP and code != JMP | JA and max(jt, jf) >= remaining:
        return f"jump of {max(jt, jf)} past the end"
    return ""


def _check_memory(instructions: Sequence[Instruction]) -> None:
    """Refuse a load from a memory word that some path has not stored (check_load_and_stores)."""
    # For each instruction, the words that every path to it has stored, one bit each.
    stored_at = [_ALL_MEMORY] * len(instructions)
    stored = 0
    for index, (code, jt, jf, k) in enumerate(instructions):
        stored &= stored_at[index]
        if code in _MEMORY_STORES:
            stored |= 1 << k
        elif code in _MEMORY_LOADS and not stored & 1 << k:
            raise PolicyError(f"BPF instruction {index}: memory word {k} may be read before it is written")
        elif code & 7 == JMP:
            for offset in (k,) if code == JMP | JA else (jt, jf):
                stored_at[index + 1 + offset] &= stored
            stored = _ALL_MEMORY
