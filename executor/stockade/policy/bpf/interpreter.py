"""Runs finished seccomp programs as the kernel does, to check a program before it is used and to say what it decides.

Written against the kernel's description of classic BPF (Documentation/networking/filter.rst) and seccomp(2); it shares
nothing with the compiler but the names of the instructions.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stockade.kernel.seccomp_constants import SECCOMP_RET_ACTION_FULL, SECCOMP_RET_ALLOW
from stockade.policy.bpf.instructions import (
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
    LD,
    LDX,
    LEN,
    LOAD_WORD,
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
    XOR,
    Instruction,
    X,
    decode,
)
from stockade.policy.bpf.validate import MEMORY_WORDS, validate

_DATA = struct.Struct("<II7Q")
_WORDS = struct.Struct(f"<{DATA_SIZE // 4}I")
_MASK = 0xFFFFFFFF
_CALCULATE: dict[int, Callable[[int, int], int]] = {
    ADD: operator.add,
    SUB: operator.sub,
    MUL: operator.mul,
    DIV: operator.floordiv,
    OR: operator.or_,
    AND: operator.and_,
    XOR: operator.xor,
    LSH: lambda a, operand: a << (operand & 31),
    RSH: lambda a, operand: a >> (operand & 31),
    NEG: lambda a, _: -a,
}
_JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_OR_EQUAL = JMP | JEQ, JMP | JGT, JMP | JGE


@dataclass(frozen=True, slots=True)
class SeccompData:
    """struct seccomp_data: what a filter sees of a call. `nr` in 32 bits unsigned, `arch` the audit token."""

    nr: int
    arch: int
    args: tuple[int, ...] = (0,) * 6
    instruction_pointer: int = 0

    def words(self) -> tuple[int, ...]:
        """Give the 16 words of 32 bits that a program can load. Missing arguments are 0."""
        registers = (*self.args, 0, 0, 0, 0, 0, 0)[:6]
        return _WORDS.unpack(_DATA.pack(self.nr, self.arch, self.instruction_pointer, *registers))


class _Counted(tuple[Instruction, ...]):
    """Instructions that count how often one of them is read."""

    count_of_reads = 0

    def __getitem__(self, index: Any) -> Any:
        self.count_of_reads += 1
        return super().__getitem__(index)


class Interpreter:
    """One validated program, ready to run many times. Raises PolicyError when the kernel would refuse the program."""

    __slots__ = ("instructions",)

    def __init__(self, program: bytes) -> None:
        self.instructions = decode(program)
        validate(self.instructions)

    def run(self, data: SeccompData) -> int:
        """Give the 32-bit value that the program returns for `data`."""
        return self.run_words(data.words())

    def count(self, data: SeccompData) -> int:
        """Give how many instructions the program takes for `data`."""
        counting = Interpreter.__new__(Interpreter)
        counting.instructions = taken = _Counted(self.instructions)
        counting.run(data)
        return taken.count_of_reads

    def run_number(self, number: int, token: int) -> int | None:
        """Give the value for a call if it hangs on its number and architecture alone, else None.

        The kernel makes the same test (seccomp_is_const_allow) to remember calls that are always allowed.
        """
        try:
            return self.run_words((number, token))
        except IndexError:
            return None

    def run_words(self, words: Sequence[int]) -> int:
        """Like `run`, with `SeccompData.words()` made before."""
        instructions = self.instructions
        a = x = index = 0
        memory: list[int] | None = None
        while True:
            code, jt, jf, k = instructions[index]
            index += 1
            # The instructions that our compiler emits come first: every policy is checked on thousands of cases.
            if code == _JUMP_EQUAL:
                index += jt if a == k else jf
            elif code == _JUMP_GREATER_OR_EQUAL:
                index += jt if a >= k else jf
            elif code == LOAD_WORD:
                a = words[k >> 2]
            elif code == RET_K:
                return k
            elif code == _JUMP_GREATER:
                index += jt if a > k else jf
            elif code == JMP | JA:
                index += k
            elif code & 7 == JMP:
                index += jt if _jumps(code, a, x if code & X else k) else jf
            elif code & 7 == ALU:
                operand = x if code & X else k
                if code & 0xF0 == DIV and operand == 0:
                    return 0  # a division by X == 0 ends the program
                a = _CALCULATE[code & 0xF0](a, operand) & _MASK
            elif code == RET_A:
                return a
            else:
                if memory is None:
                    memory = [0] * MEMORY_WORDS
                a, x = _move(Instruction(code, jt, jf, k), a, x, memory)


def _jumps(code: int, a: int, operand: int) -> bool:
    """Say whether a conditional jump takes its true branch."""
    operation = code & 0xF0
    if operation == JEQ:
        return a == operand
    if operation == JGT:
        return a > operand
    if operation == JGE:
        return a >= operand
    return a & operand != 0


def _move(instruction: Instruction, a: int, x: int, memory: list[int]) -> tuple[int, int]:
    """Carry out a load, store or register move that is no load from the data; give the new A and X."""
    code, _, _, k = instruction
    if code == ST:
        memory[k] = a
    elif code == STX:
        memory[k] = x
    elif code == MISC | TAX:
        x = a
    elif code & 7 == MISC:
        a = x
    else:
        source = {IMM: k, LEN: DATA_SIZE, MEM: memory[k & (MEMORY_WORDS - 1)]}[code & 0xE0]
        if code & 7 == LDX:
            x = source
        elif code & 7 == LD:
            a = source
    return a, x


def stronger(first: int, second: int) -> bool:
    """Say whether the action of `first` goes before that of `second`: the kernel compares them as signed numbers."""
    return _signed(first & SECCOMP_RET_ACTION_FULL) < _signed(second & SECCOMP_RET_ACTION_FULL)


def _signed(value: int) -> int:
    return value - (1 << 32) if value & 0x80000000 else value


def run(programs: bytes | Iterable[bytes], data: SeccompData) -> int:
    """Give what the kernel decides for `data` under one program, or under a stack of them in the order of installing.

    The strongest action wins; among equal actions the value of the program installed last. Raises PolicyError when the
    kernel would refuse one of the programs.
    """
    stack = [programs] if isinstance(programs, bytes) else list(programs)
    words = data.words()
    decided = SECCOMP_RET_ALLOW
    for program in reversed(stack):
        value = Interpreter(program).run_words(words)
        if stronger(value, decided):
            decided = value
    return decided
