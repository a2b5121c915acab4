"""Assembles raw filters: classic BPF as text, one instruction or label a line.

        jset32 args[2], PROT_EXEC, refuse      # any of these bits set: go to refuse, else go on
        jgt64  args[1], 0x40000000, refuse     # 64-bit comparison of both halves
        ret    allow
    refuse:
        ret    errno EACCES

Comparisons of arguments: `jeq32 jne32 jgt32 jge32 jlt32 jle32 jset32` look at the low 32 bits, the same with `64` at
all 64; they are `args[N], VALUE, LABEL[, LABEL]`: where to go if it holds, and if not (the next line unless given).
Values are numbers or the kernel's constants ("O_RDWR|O_CREAT"). Comments begin with `#` or `;`.

The machine's own instructions can be written too, as the disassembler writes them: `ld nr`, `ld args[2].low`,
`jeq VALUE, LABEL, LABEL` on what was loaded, `and VALUE`, `ja LABEL`, `st m[0]`, `tax` … A number at the beginning of a
line is its label, so that a listing can be assembled again. Jumps go forward only (the kernel has no others).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stockade.errors import PolicyError
from stockade.kernel import constants
from stockade.kernel.architectures import Architecture
from stockade.policy.bpf.instructions import (
    ADD,
    ALU,
    AND,
    ARGS_WORD,
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
    LOAD_WORD,
    LSH,
    MAX_JUMP,
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
    X,
    high_word,
    low_word,
    word_name,
)
from stockade.policy.finding import closest
from stockade.text import quote

MAX_LINES = 8192

_ALU = {"add": ADD, "sub": SUB, "mul": MUL, "div": DIV, "or": OR, "and": AND, "xor": XOR, "lsh": LSH, "rsh": RSH}
_JUMPS = {"jeq": JEQ, "jgt": JGT, "jge": JGE, "jset": JSET}
# Comparison → (jump of the machine, whether its two targets change places).
_COMPARISONS = {
    "jeq": (JEQ, False),
    "jne": (JEQ, True),
    "jgt": (JGT, False),
    "jle": (JGT, True),
    "jge": (JGE, False),
    "jlt": (JGE, True),
    "jset": (JSET, False),
}
_WORDS = {word_name(word): word for word in range(ARGS_WORD + 12)}
_BARE = {"neg": ALU | NEG, "tax": MISC | TAX, "txa": MISC | TXA}
_MNEMONICS = (
    *("ld", "ldx", "st", "stx", "ja", "ret", *_ALU, *_JUMPS, *_BARE),
    *(f"{name}{width}" for name in _COMPARISONS for width in (32, 64)),
)
_LABEL = re.compile(r"([A-Za-z_]\w*|\d+)\s*:\s*")
_NUMBERED = re.compile(r"(\d+)\s+(?=[a-z])")
_ARGUMENT = re.compile(r"args\[([0-5])\]")
_MEMORY = re.compile(r"m\[(\d{1,3})\]")
_NEXT = ""


@dataclass(frozen=True, slots=True)
class Assembled:
    """Instructions in which every `ret` returns the index of its text in `returns` ("allow", "errno EACCES")."""

    instructions: tuple[Instruction, ...]
    returns: tuple[str, ...]


@dataclass(slots=True)
class _Line:
    """One instruction whose targets are labels still. Jumps: `yes` and `no` ("" is the next line); others: neither."""

    number: int
    code: int
    k: int = 0
    yes: str | None = None
    no: str | None = None


def assemble(text: str, architecture: Architecture) -> Assembled:
    """Translate a program, with the constants of `architecture`.

    Raises PolicyError that names the line of the text for an unknown instruction, constant or label, for a jump
    backwards, a value that does not fit, and for what the kernel has no instruction for. Whether the kernel takes the
    result (that it ends with a return, for example) is judged by `validate`.
    """
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise PolicyError(f"the program has more than {MAX_LINES} lines")
    reader = _Reader(architecture)
    for number, line in enumerate(lines, 1):
        try:
            reader.read(number, re.split(r"[#;]", line, maxsplit=1)[0].strip())
        except PolicyError as error:
            raise _at(number, error) from None
    return Assembled(tuple(_linked(reader.lines, reader.labels)), tuple(reader.returns))


def _at(number: int, error: PolicyError) -> PolicyError:
    return PolicyError(f"line {number} of the program: {error.message}", suggestion=error.suggestion)


class _Reader:
    """Reads lines to instructions with labels."""

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture
        self.lines: list[_Line] = []
        # Label → index of the instruction behind it.
        self.labels: dict[str, int] = {}
        self.returns: dict[str, int] = {}
        self._number = 0
        self._made = 0

    def read(self, number: int, line: str) -> None:
        """Read one line without its comment: labels, then at most one instruction."""
        self._number = number
        while match := _LABEL.match(line) or _NUMBERED.match(line):
            if match[1] in self.labels:
                raise PolicyError(f"the label {match[1]} is given twice")
            self.labels[match[1]] = len(self.lines)
            line = line[match.end() :]
        if line:
            mnemonic, _, rest = line.partition(" ")
            self._instruction(mnemonic.lower(), rest.strip())

    def _instruction(self, mnemonic: str, rest: str) -> None:
        operands = [part.strip() for part in rest.split(",")] if rest else []
        name, width = (mnemonic[:-2], mnemonic[-2:]) if mnemonic[-2:] in ("32", "64") else (mnemonic, "")
        if width and name in _COMPARISONS:
            self._comparison(name, int(width), operands)
        elif mnemonic == "ret":
            self._return(rest)
        elif mnemonic in _BARE:
            self._count(mnemonic, operands, 0, 0)
            self._add(_BARE[mnemonic])
        elif mnemonic == "ja":
            self._count(mnemonic, operands, 1, 1)
            self._add(JMP | JA, yes=operands[0])
        elif mnemonic in _JUMPS:
            self._count(mnemonic, operands, 2, 3)
            yes, no = operands[1], operands[2] if len(operands) == 3 else _NEXT
            self._operated(JMP | _JUMPS[mnemonic], operands[0], yes, no)
        elif mnemonic in _ALU:
            self._count(mnemonic, operands, 1, 1)
            self._operated(ALU | _ALU[mnemonic], operands[0], None, None)
        elif mnemonic in ("ld", "ldx", "st", "stx"):
            self._count(mnemonic, operands, 1, 1)
            self._move(mnemonic, operands[0])
        else:
            raise PolicyError(f"unknown instruction {quote(mnemonic)}", suggestion=closest(mnemonic, _MNEMONICS))

    def _count(self, mnemonic: str, operands: Sequence[str], least: int, most: int) -> None:
        if not least <= len(operands) <= most or not all(operands):
            wanted = str(least) if least == most else f"{least} or {most}"
            raise PolicyError(f"{mnemonic} takes {wanted} operands, separated by commas")

    def _add(self, code: int, k: int = 0, yes: str | None = None, no: str | None = None) -> None:
        self.lines.append(_Line(self._number, code, k, yes, no))

    def _operated(self, code: int, operand: str, yes: str | None, no: str | None) -> None:
        if operand == "x":
            self._add(code | X, 0, yes, no)
        else:
            self._add(code, self._value(operand, 32), yes, no)

    def _return(self, text: str) -> None:
        if text == "a":
            self._add(RET_A)
        else:
            self._add(RET_K, self.returns.setdefault(" ".join(text.split()), len(self.returns)))

    def _move(self, mnemonic: str, operand: str) -> None:
        memory = _MEMORY.fullmatch(operand)
        if mnemonic in ("st", "stx"):
            if memory is None:
                raise PolicyError(f"{mnemonic} stores to m[0] to m[15], not to {quote(operand)}")
            self._add(ST if mnemonic == "st" else STX, int(memory[1]))
        elif memory:
            self._add((LD if mnemonic == "ld" else LDX) | MEM, int(memory[1]))
        elif operand == "len":
            self._add((LD if mnemonic == "ld" else LDX) | LEN)
        elif mnemonic == "ld" and operand in _WORDS:
            self._add(LOAD_WORD, _WORDS[operand] * 4)
        elif _ARGUMENT.fullmatch(operand):
            raise PolicyError(f"{mnemonic} loads 32 bits: write {operand}.low or {operand}.high")
        else:
            self._add((LD if mnemonic == "ld" else LDX) | IMM, self._value(operand, 32))

    def _value(self, text: str, bits: int) -> int:
        try:
            value = constants.parse(text, self._architecture.name)
        except constants.UnknownSymbolError as error:
            raise PolicyError(f"unknown constant {quote(text)}", suggestion=error.suggestion) from None
        except (LookupError, ValueError):
            raise PolicyError(f"{quote(text)} is no number and no constant") from None
        if not -(1 << bits - 1) <= value < 1 << bits:
            raise PolicyError(f"{quote(text)} does not fit {bits} bits")
        return value & (1 << bits) - 1

    def _comparison(self, name: str, width: int, operands: Sequence[str]) -> None:
        """Compare an argument: load and jump; in 64 bits the high half first."""
        self._count(f"{name}{width}", operands, 3, 4)
        argument = _ARGUMENT.fullmatch(operands[0])
        if argument is None:
            raise PolicyError(f"{name}{width} compares args[0] to args[5], not {quote(operands[0])}")
        operation, inverted = _COMPARISONS[name]
        value, index = self._value(operands[1], width), int(argument[1])
        self._made += 1
        after = f" {self._made}"
        yes, no = operands[2], operands[3] if len(operands) == 4 else after
        if inverted:
            yes, no = no, yes
        if width == 64:
            self._high_half(operation, high_word(index), value >> 32, yes, no)
        self._add(LOAD_WORD, low_word(index) * 4)
        self._add(JMP | operation, value & 0xFFFFFFFF, yes, no)
        self.labels[after] = len(self.lines)

    def _high_half(self, operation: int, word: int, value: int, yes: str, no: str) -> None:
        """Decide by the high half where it can; else go on to the low half."""
        self._add(LOAD_WORD, word * 4)
        if operation == JSET:
            self._add(JMP | JSET, value, yes, _NEXT)
            return
        if operation != JEQ:
            self._add(JMP | JGT, value, yes, _NEXT)
        self._add(JMP | JEQ, value, _NEXT, no)


def _linked(lines: Sequence[_Line], labels: Mapping[str, int]) -> list[Instruction]:
    """Put offsets in the place of labels. A conditional jump that is too short goes by two `ja` behind it."""
    targets = [_targets(line, index, labels) for index, line in enumerate(lines)]
    long: set[int] = set()
    while True:
        position, at = [], 0
        for index in range(len(lines) + 1):
            position.append(at)
            at += 3 if index in long else 1
        found = {
            index
            for index, pair in enumerate(targets)
            if pair is not None and lines[index].code != JMP | JA and index not in long
            if any(position[target] - position[index] - 1 > MAX_JUMP for target in pair)
        }
        if not found:
            break
        long |= found
    out: list[Instruction] = []
    for index, line in enumerate(lines):
        pair, here = targets[index], position[index] + 1
        if pair is None:
            out.append(Instruction(line.code, k=line.k))
        elif line.code == JMP | JA:
            out.append(Instruction(line.code, k=position[pair[0]] - here))
        elif index in long:
            out.append(Instruction(line.code, 0, 1, line.k))
            out.append(Instruction(JMP | JA, k=position[pair[0]] - here - 1))
            out.append(Instruction(JMP | JA, k=position[pair[1]] - here - 2))
        else:
            out.append(Instruction(line.code, position[pair[0]] - here, position[pair[1]] - here, line.k))
    return out


def _targets(line: _Line, index: int, labels: Mapping[str, int]) -> tuple[int, int] | None:
    """Give the instructions that a jump leads to when its condition holds and when not; None for other instructions."""
    if line.yes is None:
        return None
    found = []
    for label in (line.yes, line.yes if line.no is None else line.no):
        target = index + 1 if label == _NEXT else labels.get(label)
        if target is None:
            near = closest(label, [each for each in labels if not each.startswith(" ")])
            raise _at(line.number, PolicyError(f"there is no label {quote(label)}", suggestion=near))
        if target <= index:
            raise _at(line.number, PolicyError(f"the label {label} lies before the jump, and jumps only go forward"))
        found.append(target)
    return found[0], found[1]
