"""Classic BPF instructions (linux/bpf_common.h, linux/filter.h): names, and packing to and from struct sock_filter."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from stockade.errors import PolicyError
from stockade.kernel.seccomp_constants import INSTRUCTION_SIZE

# Classes: the low three bits of a code.
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
# Modes of LD and LDX (with the word size, which is 0), and of RET.
IMM, ABS, MEM, LEN = 0x00, 0x20, 0x60, 0x80
RET_K, RET_A = RET, RET | 0x10
# Where the operand of ALU and JMP comes from.
K, X = 0x00, 0x08
# Operations of ALU.
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, XOR = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0xA0
# Operations of JMP.
JA, JEQ, JGT, JGE, JSET = 0x00, 0x10, 0x20, 0x30, 0x40
# Operations of MISC.
TAX, TXA = 0x00, 0x80

LOAD_WORD = LD | ABS
# A conditional jump reaches this far; JA reaches anywhere.
MAX_JUMP = 255

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6]; little endian on both architectures.
DATA_SIZE = 64
NR_WORD, ARCH_WORD, IP_WORD, ARGS_WORD = 0, 1, 2, 4

_SOCK_FILTER = struct.Struct("<HBBI")


class Instruction(NamedTuple):
    """One struct sock_filter. Jump offsets count from the next instruction."""

    code: int
    jt: int = 0
    jf: int = 0
    k: int = 0


def low_word(argument: int) -> int:
    """Give the index of the 32-bit word of struct seccomp_data that holds the low half of an argument."""
    return ARGS_WORD + 2 * argument


def high_word(argument: int) -> int:
    """Give the index of the 32-bit word of struct seccomp_data that holds the high half of an argument."""
    return ARGS_WORD + 2 * argument + 1


def word_name(word: int) -> str:
    """Name a 32-bit word of struct seccomp_data for people: "nr", "arch", "args[2].low"."""
    if word < ARGS_WORD:
        return ("nr", "arch", "instruction_pointer.low", "instruction_pointer.high")[word]
    argument, half = divmod(word - ARGS_WORD, 2)
    return f"args[{argument}].{'high' if half else 'low'}"


def encode(instructions: Iterable[Instruction]) -> bytes:
    """Pack instructions to an array of struct sock_filter."""
    return b"".join(_SOCK_FILTER.pack(*instruction) for instruction in instructions)


def decode(program: bytes) -> tuple[Instruction, ...]:
    """Unpack an array of struct sock_filter. Raises PolicyError when the length is no multiple of 8 bytes."""
    if len(program) % INSTRUCTION_SIZE:
        raise PolicyError(f"a BPF program of {len(program)} bytes: its length must be a multiple of {INSTRUCTION_SIZE}")
    return tuple(Instruction(*fields) for fields in _SOCK_FILTER.iter_unpack(program))
