"""The interpreter: each instruction, what it refuses, and the strongest action of a stack of programs."""

from __future__ import annotations

import struct

import pytest

from stockade.errors import PolicyError
from stockade.policy.bpf.instructions import (
    ABS,
    ADD,
    ALU,
    AND,
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
    decode,
    encode,
)
from stockade.policy.bpf.interpreter import Interpreter, SeccompData, run, stronger

DATA = SeccompData(
    nr=0x11, arch=0xC000003E, args=(0xA000000B, 1 << 63 | 2, 3, 4, 5, 0x600000007), instruction_pointer=0x800000009
)


def returned(*instructions: Instruction) -> int:
    return run(encode(instructions), DATA)


def load(offset: int) -> Instruction:
    return Instruction(LD | ABS, k=offset)


WORDS = {
    0: 0x11,
    4: 0xC000003E,
    8: 9,
    12: 8,
    16: 0xA000000B,
    20: 0,
    24: 2,
    28: 1 << 31,
    32: 3,
    56: 7,
    60: 6,
}


@pytest.mark.parametrize(("offset", "value"), WORDS.items())
def test_loads_from_the_data(offset: int, value: int) -> None:
    assert returned(load(offset), Instruction(RET_A)) == value


A, OPERAND = 0xF0000005, 0x80000003
CALCULATED = {
    ADD: 0x70000008,
    SUB: 0x70000002,
    MUL: 0x5000000F,
    DIV: 1,
    OR: 0xF0000007,
    AND: 0x80000001,
    XOR: 0x70000006,
}


@pytest.mark.parametrize(("operation", "result"), CALCULATED.items())
def test_calculations(operation: int, result: int) -> None:
    start = Instruction(LD | IMM, k=A)
    assert returned(start, Instruction(ALU | operation | K, k=OPERAND), Instruction(RET_A)) == result
    assert (
        returned(start, Instruction(LDX | IMM, k=OPERAND), Instruction(ALU | operation | X), Instruction(RET_A))
        == result
    )


def test_shifts_and_negation() -> None:
    start = Instruction(LD | IMM, k=A)
    assert returned(start, Instruction(ALU | LSH, k=4), Instruction(RET_A)) == 0x50
    assert returned(start, Instruction(ALU | RSH, k=28), Instruction(RET_A)) == 0xF
    assert returned(start, Instruction(LDX | IMM, k=36), Instruction(ALU | LSH | X), Instruction(RET_A)) == 0x50
    assert returned(start, Instruction(ALU | NEG), Instruction(RET_A)) == 0x0FFFFFFB


def test_division_by_an_x_of_zero_ends_the_program_with_0() -> None:
    end = Instruction(RET_K, k=0x7FFF0000)
    assert returned(Instruction(ALU | DIV | X), end) == 0
    assert returned(Instruction(LDX | IMM, k=1), Instruction(ALU | DIV | X), end) == 0x7FFF0000


JUMPS = [
    (JEQ, 5, 5, True),
    (JEQ, 5, 6, False),
    (JGT, 5, 5, False),
    (JGT, 6, 5, True),
    (JGT, 0x80000000, 5, True),
    (JGE, 5, 5, True),
    (JGE, 4, 5, False),
    (JSET, 6, 2, True),
    (JSET, 6, 1, False),
]


@pytest.mark.parametrize(("operation", "a", "operand", "taken"), JUMPS)
def test_conditional_jumps(operation: int, a: int, operand: int, taken: bool) -> None:
    start = [Instruction(LD | IMM, k=a), Instruction(LDX | IMM, k=operand)]
    ends = [Instruction(RET_K, k=1), Instruction(RET_K, k=2)]
    expected = 2 if taken else 1
    assert returned(*start, Instruction(JMP | operation | K, 1, 0, operand), *ends) == expected
    assert returned(*start, Instruction(JMP | operation | X, 1, 0, 0xBAD), *ends) == expected


def test_long_jumps() -> None:
    skipped = [Instruction(RET_K, k=1)] * 1000
    assert returned(Instruction(JMP | JA, k=1000), *skipped, Instruction(RET_K, k=2)) == 2


def test_memory_and_registers() -> None:
    assert returned(load(0), Instruction(MISC | TAX), load(4), Instruction(MISC | TXA), Instruction(RET_A)) == 0x11
    assert returned(load(0), Instruction(ST, k=15), load(4), Instruction(LD | MEM, k=15), Instruction(RET_A)) == 0x11
    through_x = [
        Instruction(LDX | IMM, k=7),
        Instruction(STX, k=3),
        Instruction(LDX | MEM, k=3),
        Instruction(MISC | TXA),
    ]
    assert returned(*through_x, Instruction(RET_A)) == 7
    assert returned(Instruction(LD | LEN), Instruction(RET_A)) == 64
    assert returned(Instruction(LDX | LEN), Instruction(MISC | TXA), Instruction(RET_A)) == 64


def test_both_registers_begin_with_0() -> None:
    assert returned(Instruction(RET_A)) == 0
    assert returned(Instruction(MISC | TXA), Instruction(RET_A)) == 0


RETURN = Instruction(RET_K)
REFUSED = {
    "nothing": [],
    "too long": [RETURN] * 4097,
    "no return at the end": [RETURN, load(0)],
    "jump at the end": [Instruction(JMP | JEQ, 0, 0)],
    "unaligned load": [load(2), RETURN],
    "load past the data": [load(64), RETURN],
    "byte load": [Instruction(LD | ABS | 0x10, k=0), RETURN],
    "indirect load": [Instruction(LD | 0x40, k=0), RETURN],
    "modulo": [Instruction(ALU | 0x90, k=3), RETURN],
    "return x": [Instruction(RET_K | X)],
    "division by 0": [Instruction(ALU | DIV, k=0), RETURN],
    "shift by 32": [Instruction(ALU | LSH, k=32), RETURN],
    "shift right by 32": [Instruction(ALU | RSH, k=32), RETURN],
    "memory word 16": [Instruction(ST, k=16), RETURN],
    "unwritten memory": [Instruction(LD | MEM, k=0), RETURN],
    "memory written on one path": [
        Instruction(JMP | JEQ, 0, 1),
        Instruction(ST, k=0),
        Instruction(LD | MEM, k=0),
        RETURN,
    ],
    "jt past the end": [Instruction(JMP | JEQ, 1, 0), RETURN],
    "jf past the end": [Instruction(JMP | JEQ, 0, 1), RETURN],
    "ja past the end": [Instruction(JMP | JA, k=1), RETURN],
    "ja backwards": [Instruction(JMP | JA, k=0xFFFFFFFF), RETURN],
    "unknown jump": [Instruction(JMP | 0x50, 0, 0), RETURN],
    "code above 8 bits": [Instruction(0x100 | RET_K), RETURN],
}
ACCEPTED = {
    "one return": [RETURN],
    "the longest": [RETURN] * 4096,
    "the last word": [load(60), Instruction(RET_A)],
    "jumps to the end": [Instruction(JMP | JEQ, 1, 0), RETURN, RETURN],
    "ja to the end": [Instruction(JMP | JA, k=1), RETURN, RETURN],
    "memory written on both paths": [
        Instruction(JMP | JEQ, 0, 1),
        Instruction(ST, k=0),
        Instruction(ST, k=0),
        Instruction(LD | MEM, k=0),
        RETURN,
    ],
    "shift by 31": [Instruction(ALU | LSH, k=31), RETURN],
    "unknown action": [Instruction(RET_K, k=0x12345678)],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_kernel_refuses_is_refused(name: str) -> None:
    with pytest.raises(PolicyError, match="BPF"):
        Interpreter(encode(REFUSED[name]))


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_kernel_accepts_is_accepted(name: str) -> None:
    Interpreter(encode(ACCEPTED[name]))


def test_a_program_of_odd_length_is_refused() -> None:
    with pytest.raises(PolicyError, match="multiple of 8"):
        Interpreter(encode([RETURN]) + b"\0")


def test_instructions_are_struct_sock_filter() -> None:
    instructions = (Instruction(0x15, 1, 2, 0x12345678), RETURN)
    packed = encode(instructions)
    assert packed[:8] == struct.pack("=HBBI", 0x15, 1, 2, 0x12345678)
    assert decode(packed) == instructions


# From the strongest to the weakest.
ACTIONS = [0x80000000, 0x00000000, 0x00030000, 0x00050000, 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000]


def test_the_strongest_action_wins_in_any_order() -> None:
    for index, strong in enumerate(ACTIONS):
        for weak in ACTIONS[index + 1 :]:
            assert stronger(strong, weak)
            assert not stronger(weak, strong)
            programs = [encode([Instruction(RET_K, k=value)]) for value in (strong, weak)]
            assert run(programs, DATA) == run(programs[::-1], DATA) == strong


def test_among_equal_actions_the_program_installed_last_wins() -> None:
    first, last = (encode([Instruction(RET_K, k=0x00050000 | number)]) for number in (1, 2))
    assert run([first, last], DATA) == 0x00050002
    assert run([last, first], DATA) == 0x00050001
    assert run([], DATA) == 0x7FFF0000


def test_a_number_is_decided_alone_unless_an_argument_is_read() -> None:
    by_number = Interpreter(encode([load(0), Instruction(JMP | JEQ, 0, 1, 5), Instruction(RET_K, k=7), RETURN]))
    assert by_number.run_number(5, 0) == 7
    assert by_number.run_number(6, 0) == 0
    by_argument = Interpreter(encode([load(16), Instruction(RET_A)]))
    assert by_argument.run_number(5, 0) is None


def test_missing_arguments_are_0() -> None:
    assert SeccompData(1, 2, (3,)).words() == (1, 2, 0, 0, 3, *(0,) * 11)
