"""The real kernel does with our programs what the interpreter says. Works for root and for anybody else."""

from __future__ import annotations

import errno
import random
import signal

import pytest

from policy.bpf_kernel import install_each, natural, run_under
from policy.bpf_strategies import ALLOW, BOUNDARIES, condition, policy, rule
from stockade.errors import PolicyError
from stockade.kernel.architectures import ARCHITECTURES, X32_BIT, Architecture, native
from stockade.policy.bpf.compile import compile
from stockade.policy.bpf.instructions import (
    ABS,
    ALU,
    AND,
    JA,
    JEQ,
    JMP,
    LD,
    LOAD_WORD,
    MISC,
    NEG,
    OR,
    RET_A,
    RET_K,
    ST,
    TAX,
    TXA,
    Instruction,
    X,
    encode,
)
from stockade.policy.bpf.interpreter import Interpreter, SeccompData, run
from stockade.policy.bpf.validate import PERMITTED
from stockade.policy.rules import Action, Kind, Op, ResolvedCondition, ResolvedPolicy, ResolvedRule

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
MARK = Action(Kind.ERRNO, errno=1234)
LOW, HIGH_BITS = 0xFFFFFFFF, (0, 1 << 32, 1 << 63, 0xDEADBEEF << 32)


@pytest.fixture
def machine() -> Architecture:
    return native()


def number_of(name: str) -> int:
    return native().number(name)


def allowing_the_end(*rules: ResolvedRule, default: Action = MARK) -> ResolvedPolicy:
    """A policy that lets the child end, and answers everything else that no rule decides by a mark."""
    return policy(*rules, native_rule("exit_group", ALLOW), architecture=native(), default=default)


def native_rule(syscall: str, action: Action, *when: ResolvedCondition) -> ResolvedRule:
    return rule(syscall, action, *when, architecture=native())


def expected(program: bytes, call: tuple[int, tuple[int, ...]], unfiltered: int) -> int | None:
    """Give the result that the interpreter foretells, None for a kill; `unfiltered` is what the call itself gives."""
    value = run(program, SeccompData(call[0] & LOW, native().audit_token, call[1]))
    if value == ALLOWED:
        return unfiltered
    if value & 0xFFFF0000 == 0x00050000:
        return -(value & 0xFFFF)
    if value & 0xFFFF0000 == 0x7FF00000:
        return -errno.ENOSYS  # a trace without a tracer
    return None


def check(program: bytes, calls: list[tuple[int, tuple[int, ...]]]) -> None:
    """Make the calls under `program` and compare; a call that is to be killed ends the list."""
    foretold = [expected(program, call, result) for call, result in zip(calls, natural(calls), strict=True)]
    first_kill = foretold.index(None) if None in foretold else len(foretold)
    outcome = run_under([program], calls)
    assert list(outcome.results) == foretold[:first_kill]
    assert outcome.killed_by == (signal.SIGSYS if None in foretold else 0)


# Calls that change nothing whatever their arguments are, because their descriptor is bad: arguments with their widths.
HARMLESS = [("lseek", (64, 32)), ("ioctl", (32, 64)), ("fcntl", (32, 64)), ("fchmod", (16,)), ("ftruncate", (64,))]


def random_calls(random_: random.Random, values: list[int]) -> list[tuple[int, tuple[int, ...]]]:
    made = []
    for name, widths in HARMLESS:
        for _ in range(30):
            arguments = [random_.choice(values) ^ random_.choice((0, 0, 1, *HIGH_BITS)) for _ in widths]
            made.append((number_of(name), (LOW | random_.choice(HIGH_BITS), *arguments, *(0,) * (5 - len(widths)))))
    return made


@pytest.mark.parametrize("seed", range(12))
def test_the_kernel_and_the_interpreter_agree_on_compiled_policies(seed: int) -> None:
    random_ = random.Random(seed)
    values = random_.sample(BOUNDARIES, 6)
    rules = []
    for _ in range(random_.choice((5, 25, 120))):
        name, widths = random_.choice(HARMLESS)
        index = random_.randrange(len(widths))
        width, op = widths[index], random_.choice(list(Op))
        top = (1 << width) - 1
        mask = random_.choice(values) & top if op in (Op.MASKED, Op.NOT_MASKED) else 0
        wanted = [random_.choice(values) & (mask or top) for _ in range(3 if op is Op.ONE_OF else 1)]
        if op in (Op.MASKED, Op.NOT_MASKED) and not mask:
            wanted = [0]
        action = random_.choice([ALLOW, Action(Kind.ERRNO, errno=random_.randrange(4096)), Action(Kind.LOG)])
        rules.append(native_rule(name, action, ResolvedCondition(1 + index, width, op, tuple(wanted), mask)))
    check(compile(allowing_the_end(*rules)), random_calls(random_, values))


@pytest.mark.parametrize("seed", range(6))
def test_the_kernel_kills_where_the_interpreter_says(seed: int) -> None:
    random_ = random.Random(seed)
    limit = 1 << random_.choice((31, 32, 33)) | random_.choice((0, 1))
    rules = [
        native_rule("lseek", ALLOW, condition(1, 64, random_.choice([Op.LESS, Op.GREATER_OR_EQUAL]), limit)),
        native_rule("lseek", random_.choice([Action(Kind.KILL), Action(Kind.TRAP)])),
    ]
    for offset in (0, limit - 1, limit, limit + 1, limit & LOW, limit ^ 1 << 63):
        check(compile(allowing_the_end(*rules)), [(number_of("lseek"), (LOW, offset, 0))])


def test_a_killed_call_is_not_run_and_the_next_ones_neither(machine: Architecture) -> None:
    calls = [(number_of("getppid"), ()), (number_of("getpid"), ()), (number_of("getppid"), ())]
    assert len(run_under([], calls).results) == 3  # positive control
    closed = policy(native_rule("getppid", ALLOW), architecture=machine)
    outcome = run_under([compile(closed)], calls)
    assert (len(outcome.results), outcome.killed_by) == (1, signal.SIGSYS)


def test_numbers_of_other_interfaces_are_killed(machine: Architecture) -> None:
    everything = compile(policy(architecture=machine, default=ALLOW, unknown=ALLOW))
    beyond = [(9999, ()), (X32_BIT - 1, ())]
    assert run_under([everything], beyond).results == (-errno.ENOSYS,) * 2
    outcome = run_under([everything], [(X32_BIT | number_of("getpid"), ())])
    if machine is ARCHITECTURES["x86_64"]:
        assert (outcome.results, outcome.killed_by) == ((), signal.SIGSYS)
    else:
        assert outcome.results == (-errno.ENOSYS,)


def test_of_stacked_filters_the_strongest_answer_counts_and_then_the_newest() -> None:
    call = (number_of("lseek"), (LOW, 0, 0))

    def answering(action: Action) -> bytes:
        return compile(allowing_the_end(native_rule("lseek", action), default=ALLOW))

    stacks = [
        [ALLOW, Action(Kind.ERRNO, errno=7)],
        [Action(Kind.ERRNO, errno=7), ALLOW],
        [Action(Kind.ERRNO, errno=7), Action(Kind.ERRNO, errno=8)],
        [Action(Kind.ERRNO, errno=8), Action(Kind.LOG), Action(Kind.ERRNO, errno=7), Action(Kind.LOG)],
        [Action(Kind.ERRNO, errno=8), Action(Kind.KILL), Action(Kind.LOG)],
    ]
    for actions in stacks:
        programs = [answering(action) for action in actions]
        value = run(programs, SeccompData(call[0], native().audit_token, call[1]))
        outcome = run_under(programs, [call])
        if value == KILLED:
            assert outcome.killed_by == signal.SIGSYS
        else:
            assert outcome.results == (-(value & 0xFFFF),)


def test_errno_0_pretends_success() -> None:
    program = compile(allowing_the_end(native_rule("lseek", Action(Kind.ERRNO, errno=0))))
    call = (number_of("lseek"), (LOW, 0, 0))
    assert natural([call]) == (-errno.EBADF,)
    assert run_under([program], [call]).results == (0,)


# --- any program, not only compiled ones ---

PROBE = 5000  # a number that no call has


def guarded(*body: Instruction) -> bytes:
    """A program that runs `body` for the probe and allows everything else."""
    head = (Instruction(LOAD_WORD, k=0), Instruction(JMP | JEQ, 1, 0, PROBE), Instruction(RET_K, k=ALLOWED))
    return encode([*head, *body])


CALCULATIONS = sorted(
    code
    for code in PERMITTED
    if code & 7 in (ALU, MISC) or code in (LD | ABS, 0x80, 0x81, LD, 1)  # loads of data, length and constants
)


def random_calculation(random_: random.Random) -> list[Instruction]:
    """Twenty random calculations on the arguments, and the low bits of the result as an error number."""
    body = [Instruction(LOAD_WORD, k=16), Instruction(MISC | TAX), Instruction(LOAD_WORD, k=24)]
    for _ in range(20):
        code = random_.choice(CALCULATIONS)
        k = random_.choice((0, 1, 3, 31, 0xFFFF, 0x80000000, LOW, random_.getrandbits(32)))
        if code == LD | ABS:
            k = random_.choice((16, 20, 24, 28, 32, 36))
        elif code in (ALU | 0x60, ALU | 0x70):  # shifts by a constant
            k %= 32
        elif code == ALU | 0x30:  # division by a constant
            k = k or 1
        elif code & 7 == MISC or code == ALU | NEG or code & X:
            k = 0
        body.append(Instruction(code, k=k))
    shift = Instruction(ALU | 0x70, k=random_.choice((0, 12, 20)))
    return [*body, shift, Instruction(ALU | AND, k=0xFFF), Instruction(ALU | OR, k=0x00050000), Instruction(RET_A)]


@pytest.mark.parametrize("seed", range(25))
def test_the_kernel_calculates_like_the_interpreter(seed: int) -> None:
    random_ = random.Random(seed)
    program = guarded(*random_calculation(random_))
    calls = [(PROBE, tuple(random_.choice(BOUNDARIES) for _ in range(3))) for _ in range(10)]
    foretold = [expected(program, call, 0) for call in calls]
    if None in foretold:  # a division by an X of 0
        calls, foretold = [calls[0]], [expected(program, calls[0], 0)]
    outcome = run_under([program], calls)
    if foretold == [None]:
        assert outcome.killed_by == signal.SIGSYS
    else:
        assert list(outcome.results) == foretold


def random_body(random_: random.Random) -> list[Instruction]:
    """A short program that is right or has one thing wrong, more or less by chance."""
    codes = sorted(PERMITTED)
    body = []
    for _ in range(random_.randrange(1, 5)):
        code = random_.choice(codes)
        if random_.random() < 0.08:
            code = random_.randrange(0, 0x100)
        k = random_.choice((0, 1, 2, 4, 15, 16, 31, 32, 60, 64))
        body.append(Instruction(code, random_.randrange(4), random_.randrange(4), k))
    return [*body, Instruction(ST, k=2), Instruction(RET_K)]


def test_the_kernel_accepts_what_the_interpreter_accepts() -> None:
    random_ = random.Random(1)
    programs = [guarded(*random_body(random_)) for _ in range(300)]
    foretold = [0 if accepted(program) else errno.EINVAL for program in programs]
    assert install_each(programs) == foretold
    assert 50 < foretold.count(0) < 250


def accepted(program: bytes) -> bool:
    try:
        Interpreter(program)
    except PolicyError:
        return False
    return True


@pytest.mark.parametrize(
    "body",
    [
        [Instruction(RET_K, k=ALLOWED)] * 4094,  # one more than the kernel takes
        [Instruction(JMP | JA, k=1), Instruction(RET_K)],
        [Instruction(JMP | JA, k=LOW), Instruction(RET_K)],
        [Instruction(LOAD_WORD, k=0)],
        [Instruction(MISC | TXA)],
    ],
    ids=["too long", "past the end", "backwards", "no return", "no return either"],
)
def test_both_refuse(body: list[Instruction]) -> None:
    program = guarded(*body)
    with pytest.raises(PolicyError):
        Interpreter(program)
    with pytest.raises(OSError, match="seccomp"):
        run_under([program], [])
