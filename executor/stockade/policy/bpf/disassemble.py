"""A readable listing of a BPF program, for --debug."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stockade.kernel.architectures import Architecture, by_token
from stockade.kernel.seccomp_constants import (
    SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_DATA,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_LOG,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
    SECCOMP_RET_USER_NOTIF,
)
from stockade.policy.bpf.instructions import (
    ADD,
    ALU,
    AND,
    ARCH_WORD,
    DIV,
    JA,
    JEQ,
    JGE,
    JGT,
    JMP,
    JSET,
    LD,
    LDX,
    LEN,
    LOAD_WORD,
    LSH,
    MEM,
    MISC,
    MUL,
    NEG,
    NR_WORD,
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
    X,
    decode,
    word_name,
)
from stockade.policy.verdicts import DATA_WORDS, HOOK_BASE

_ALU_NAMES: Mapping[int, str] = {
    ADD: "add",
    SUB: "sub",
    MUL: "mul",
    DIV: "div",
    OR: "or",
    AND: "and",
    LSH: "lsh",
    RSH: "rsh",
    NEG: "neg",
    XOR: "xor",
}
_JUMP_NAMES: Mapping[int, str] = {JEQ: "jeq", JGT: "jgt", JGE: "jge", JSET: "jset"}
_ACTION_NAMES: Mapping[int, str] = {
    SECCOMP_RET_KILL_PROCESS: "kill_process",
    SECCOMP_RET_KILL_THREAD: "kill_thread",
    SECCOMP_RET_TRAP: "trap",
    SECCOMP_RET_ERRNO: "errno",
    SECCOMP_RET_USER_NOTIF: "user_notif",
    SECCOMP_RET_TRACE: "trace",
    SECCOMP_RET_LOG: "log",
    SECCOMP_RET_ALLOW: "allow",
}


def value_text(value: int) -> str:
    """Write what a filter returned: "allow", "errno 13", "trace 2"; "0x12345678" for an unknown action."""
    name, data = _ACTION_NAMES.get(value & SECCOMP_RET_ACTION_FULL), value & SECCOMP_RET_DATA
    if name is None:
        return f"{value:#010x}"
    return f"{name} {data}" if data or name in ("errno", "trace") else name


def disassemble(program: bytes, architecture: Architecture | None = None) -> str:
    """Write a program one instruction a line, with the targets of jumps as line numbers.

    With `architecture`, constants that are compared with the number of the call are named. The text is for people; the
    program need not be valid. Raises PolicyError when its length is no multiple of 8 bytes.
    """
    instructions = decode(program)
    holds = _loaded_words(instructions)
    lines = []
    for index, instruction in enumerate(instructions):
        text = _text(index, instruction)
        note = _note(instruction, holds[index], architecture)
        lines.append(f"{index:4}  {text:<34}{note}".rstrip())
    return "\n".join(lines) + "\n"


def _text(index: int, instruction: Instruction) -> str:
    code, jt, jf, k = instruction
    operand = "x" if code & X else f"{k:#x}"
    if code == LOAD_WORD:
        return f"ld    {word_name(k // 4)}" if k % 4 == 0 and k < 64 else f"ld    data[{k}]"
    if code in (RET_K, RET_A):
        return f"ret   {value_text(k) if code == RET_K else 'a'}"
    if code == JMP | JA:
        return f"ja    {index + 1 + k}"
    if code & 7 == JMP and code & 0xF0 in _JUMP_NAMES:
        return f"{_JUMP_NAMES[code & 0xF0]:<5} {operand}, {index + 1 + jt}, {index + 1 + jf}"
    if code & 7 == ALU and code & 0xF0 in _ALU_NAMES:
        return "neg" if code & 0xF0 == NEG else f"{_ALU_NAMES[code & 0xF0]:<5} {operand}"
    if code in (MISC | TAX, MISC | TXA):
        return "tax" if code == MISC | TAX else "txa"
    if code in (ST, STX):
        return f"{'st' if code == ST else 'stx':<5} m[{k}]"
    if code & 7 in (LD, LDX):
        source = {MEM: f"m[{k}]", LEN: "len"}.get(code & 0xE0, f"{k:#x}")
        return f"{'ld' if code & 7 == LD else 'ldx':<5} {source}"
    return f"code {code:#06x} {jt}, {jf}, {k:#x}"


def _loaded_words(instructions: Sequence[Instruction]) -> list[int | None]:
    """Give for each instruction the word that the accumulator holds there on every path, else None."""
    # Empty: not reached so far. More than one member: depends on the path. Jumps only go forward.
    at: list[set[int | None]] = [set() for _ in range(len(instructions) + 1)]
    if instructions:
        at[0].add(None)
    for index, (code, jt, jf, k) in enumerate(instructions):
        after = at[index]
        if code & 7 == JMP:
            for offset in (k,) if code == JMP | JA else (jt, jf):
                if index + 1 + offset < len(instructions):
                    at[index + 1 + offset] |= after
        elif code not in (RET_K, RET_A):
            at[index + 1] |= {k // 4} if code == LOAD_WORD else after if code in (ST, STX) else {None}
    return [next(iter(words)) if len(words) == 1 else None for words in at[:-1]]


def _note(instruction: Instruction, word: int | None, architecture: Architecture | None) -> str:
    """Name the constant of a comparison where it has a name, and say what the monitor is told."""
    if instruction.code == RET_K and instruction.k & SECCOMP_RET_ACTION_FULL == SECCOMP_RET_TRACE:
        data = instruction.k & SECCOMP_RET_DATA
        return (
            f"; {DATA_WORDS.get(data) or f'hook {data - HOOK_BASE}'}" if data in DATA_WORDS or data >= HOOK_BASE else ""
        )
    if instruction.code & 0x0F != JMP or instruction.code & 0xF0 not in _JUMP_NAMES:
        return ""
    if word == ARCH_WORD:
        known = by_token(instruction.k)
        return f"; {known.name}" if known else ""
    if word == NR_WORD and architecture is not None and instruction.k in architecture.names:
        return f"; {architecture.names[instruction.k]}"
    return ""
