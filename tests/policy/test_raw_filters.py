"""Raw filters: classic BPF that tightens the rules and can never loosen them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockade import Executor, PolicyBuilder, PolicyError, Status, Syscall, Verdict
from stockade._proto import policy_pb2
from stockade.kernel import constants
from stockade.kernel.architectures import AARCH64, X86_64, Architecture
from stockade.policy.bpf.assemble import assemble
from stockade.policy.bpf.disassemble import disassemble
from stockade.policy.bpf.instructions import RET_K, Instruction, encode
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.bpf.validate import validate
from stockade.policy.evaluate import DecidedBy, evaluate
from stockade.policy.expected import expected_value
from stockade.policy.policy import Policy
from stockade.policy.rules import Kind
from stockade.policy.selfcheck import check_program
from support.compiler import CCompiler
from support.runs import main_program, static_builder

ARCHITECTURES = (X86_64, AARCH64)
ALLOW, ERRNO, TRAP, KILL = 0x7FFF0000, 0x00050000, 0x00030000, 0x80000000
NO_EXEC = "jset32 args[2], PROT_EXEC, refuse\nret allow\nrefuse: ret errno EACCES\n"


def filtered(text: str, *names: str) -> PolicyBuilder:
    """A policy that allows the calls, each through the raw filter."""
    return PolicyBuilder().allow_syscalls(*names).add_policy_on_syscalls(names, text)


def decides(policy: Policy, name: str, *args: int | str, architecture: str = "x86_64") -> Kind:
    """What evaluator and compiled program say about a call; they must agree."""
    verdict = policy.evaluate(name, args, architecture)
    resolved = policy.resolve(architecture)
    numbers = [value if isinstance(value, int) else int(policy_value(value)) for value in args]
    data = SeccompData(
        resolved.architecture.number(name), resolved.architecture.audit_token, tuple(n & (1 << 64) - 1 for n in numbers)
    )
    assert Interpreter(policy.compile(architecture)).run(data) == expected_value(resolved, verdict)
    return verdict.action.kind


def policy_value(symbol: str) -> int:
    return constants.parse(symbol, "x86_64")


# What it means.


def test_it_tightens_what_a_rule_allows() -> None:
    policy = filtered(NO_EXEC, "mmap").build()
    for architecture in ("x86_64", "aarch64"):
        assert decides(policy, "mmap", 0, 0, "PROT_EXEC", architecture=architecture) is Kind.ERRNO
        assert decides(policy, "mmap", 0, 0, "PROT_READ", architecture=architecture) is Kind.ALLOW
        # Only the low half of an int counts in the comparison that says so.
        assert decides(policy, "mmap", 0, 0, 1 << 34, architecture=architecture) is Kind.ALLOW


def test_it_never_allows_what_the_rules_refuse() -> None:
    policy = PolicyBuilder().add_policy_on_syscall("getcwd", "ret allow").build()
    assert decides(policy, "getcwd") is Kind.KILL


@pytest.mark.parametrize("name", ["ptrace", "bpf", "io_uring_setup", "mount"])
def test_always_refused_calls_stay_refused(name: str) -> None:
    policy = PolicyBuilder().danger_default_allow_all().add_policy_on_syscall(name, "ret allow").build()
    assert decides(policy, name) is Kind.KILL


@pytest.mark.parametrize("answer", ["errno EACCES", "log", "trace hook", "trap"])
def test_nothing_weaker_replaces_a_kill(answer: str) -> None:
    policy = PolicyBuilder().add_policy_on_syscall("ptrace", f"ret {answer}").build()
    assert decides(policy, "ptrace") is Kind.KILL


@pytest.mark.parametrize(
    ("rule", "raw", "expected"),
    [
        ("allow", "errno EACCES", Kind.ERRNO),
        ("allow", "kill", Kind.KILL),
        ("allow", "trap", Kind.TRAP),
        ("allow", "log", Kind.LOG),
        ("allow", "trace hook", Kind.TRACE),
        ("errno", "log", Kind.ERRNO),
        ("errno", "trace hook", Kind.ERRNO),
        ("errno", "trap", Kind.TRAP),
        ("errno", "kill", Kind.KILL),
        ("trace", "log", Kind.TRACE),
        ("trace", "errno EACCES", Kind.ERRNO),
        ("trap", "errno EACCES", Kind.TRAP),
        ("trap", "kill", Kind.KILL),
        ("log", "allow", Kind.LOG),
    ],
)
def test_the_stronger_answer_holds(rule: str, raw: str, expected: Kind) -> None:
    builder = PolicyBuilder()
    {
        "allow": lambda: builder.allow_syscall("getcwd"),
        "errno": lambda: builder.block_syscall_with_errno("getcwd", "EPERM"),
        "trace": lambda: builder.trace("getcwd", "hook"),
        "trap": lambda: builder.trap_syscall("getcwd"),
        "log": lambda: builder.log_syscall("getcwd"),
    }[rule]()
    policy = builder.add_policy_on_syscall("getcwd", f"ret {raw}").build()
    assert decides(policy, "getcwd") is expected


def test_among_equal_answers_the_raw_filter_s_holds_and_the_last_one() -> None:
    builder = PolicyBuilder().block_syscall_with_errno("getcwd", "EPERM")
    builder.add_policy_on_syscall("getcwd", "ret errno 1").add_policy_on_syscall("getcwd", "ret errno 2")
    policy = builder.build()
    assert decides(policy, "getcwd") is Kind.ERRNO
    assert policy.evaluate("getcwd").action.errno == 2


def test_several_filters_of_one_call_all_count() -> None:
    builder = filtered("jeq32 args[0], 1, no\nret allow\nno: ret errno 1", "dup")
    policy = builder.add_policy_on_syscall("dup", "jeq32 args[0], 2, no\nret allow\nno: ret trap").build()
    found = [decides(policy, "dup", value) for value in (0, 1, 2)]
    assert found == [Kind.ALLOW, Kind.ERRNO, Kind.TRAP]


def test_the_verdict_names_the_filter() -> None:
    verdict = filtered(NO_EXEC, "mmap").build().evaluate("mmap", [0, 0, "PROT_EXEC"])
    assert verdict.decided_by is DecidedBy.RAW_FILTER
    assert "add_policy_on_syscalls" in verdict.reason


def test_the_first_exec_passes_a_filter_on_execveat() -> None:
    policy = PolicyBuilder().add_policy_on_syscall("execveat", "ret kill").build()
    cookie = 0x53544F434B414445
    assert policy.evaluate("execveat", [0, 0, 0, 0, 0, cookie]).decided_by is DecidedBy.FREE_EXEC


def test_a_filter_sees_the_number_and_is_run_for_its_calls_only() -> None:
    text = f"ld nr\njeq {X86_64.number('dup2')}, no, yes\nno: ret kill\nyes: ret allow"
    policy = PolicyBuilder().allow_syscalls("dup", "dup2", "dup3").add_policy_on_syscalls(["dup", "dup2"], text).build()
    assert [decides(policy, name) for name in ("dup", "dup2", "dup3")] == [Kind.ALLOW, Kind.KILL, Kind.ALLOW]


def test_bytes_for_one_architecture_refuse_the_calls_on_the_other() -> None:
    program = encode([Instruction(RET_K, k=ALLOW)])
    builder = PolicyBuilder().allow_syscalls("getcwd", "dup")
    policy = builder.add_policy_on_syscall("getcwd", program, architecture="x86_64").build()
    assert decides(policy, "getcwd") is Kind.ALLOW
    assert decides(policy, "getcwd", architecture="aarch64") is Kind.KILL
    assert decides(policy, "dup", architecture="aarch64") is Kind.ALLOW


def test_refuse_mode_reports_what_a_filter_kills() -> None:
    policy = filtered("ret kill", "getcwd").build()
    assert policy.resolve(mode="refuse").raw
    for mode in ("refuse", "permissive"):
        assert Interpreter(policy.compile(mode=mode)).run(SeccompData(79, X86_64.audit_token)) == 0x7FF00002


# What is refused.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no program"),
        ("ret a", "ret a"),
        ("ld instruction_pointer.low\nret allow", "instruction pointer"),
        ("ld args[0].low", "the last instruction must be a return"),
        ("jeq32 args[0], 1, end\nret allow\nend:", "jump"),
        ("back: ld nr\nja back\nret allow", "line 2 .*go forward"),
        ("ja nowhere\nret allow", "line 1 .*no label"),
        ("jeq32 args[0], O_RDONLI, x\nx: ret allow", "line 1 .*O_RDONLI"),
        ("jeq32 args[6], 1, x\nx: ret allow", r"args\[0\] to args\[5\]"),
        ("jeq32 args[0], 0x100000000, x\nx: ret allow", "does not fit 32 bits"),
        ("jeq32 args[0], 1\nret allow", "takes 3 or 4 operands"),
        ("jeq args[0], 1, x\nx: ret allow", "."),
        ("ld args[0]\nret allow", r"args\[0\].low or args\[0\].high"),
        ("x: ret allow\nx: ret allow", "given twice"),
        ("return allow", "unknown instruction .*did you mean .*ret"),
        ("ret maybe", "no return of a filter"),
        ("ret errno 4096", "out of range"),
        ("ret errno EWHAT", "unknown error number"),
        ("ret trace", "needs the name of a hook"),
        ("ld m[3]\nret allow", "memory word 3"),
        ("ld m[16]\nret allow", "memory word 16"),
        ("div 0\nret allow", "division"),
    ],
)
def test_bad_programs_are_refused_with_their_line(text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=f"(?s){message}"):
        PolicyBuilder().add_policy_on_syscall("getcwd", text)


@pytest.mark.parametrize("value", [0x7FF00000, 0x7FFC0000, 0x7FC00000, 0x12340000, ERRNO | 4096])
def test_bytes_may_not_return_what_could_loosen(value: int) -> None:
    program = encode([Instruction(RET_K, k=value)])
    with pytest.raises(PolicyError):
        PolicyBuilder().add_policy_on_syscall("getcwd", program, architecture="x86_64")


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("syscall", ["getcwdd"], "unknown system call"),
        ("syscall", ["getcwd", "getcwd"], "twice"),
        ("syscall", [], "names no system call"),
        ("architecture", "x86-64", "did you mean .x86_64"),
    ],
)
def test_bad_messages_are_refused(field: str, change: object, message: str) -> None:
    raw = policy_pb2.RawFilter(**{"syscall": ["getcwd"], "assembly": "ret allow", field: change})  # type: ignore[arg-type]
    policy = policy_pb2.Policy(schema_version=1, syscalls=policy_pb2.SyscallPolicy(raw_filters=[raw]))
    with pytest.raises(PolicyError, match=message):
        Policy.from_message(policy)


def test_both_forms_at_once_and_bytes_without_architecture_are_refused() -> None:
    program = encode([Instruction(RET_K, k=ALLOW)])
    for raw in (
        policy_pb2.RawFilter(syscall=["dup"], assembly="ret allow", program=program, architecture="x86_64"),
        policy_pb2.RawFilter(syscall=["dup"], program=program),
        policy_pb2.RawFilter(syscall=["dup"], program=program[:-1], architecture="x86_64"),
    ):
        policy = policy_pb2.Policy(schema_version=1, syscalls=policy_pb2.SyscallPolicy(raw_filters=[raw]))
        with pytest.raises(PolicyError):
            Policy.from_message(policy)


def test_two_hooks_for_one_call_are_refused_with_both_places() -> None:
    builder = PolicyBuilder().trace("getcwd", "first").add_policy_on_syscall("getcwd", "ret trace second")
    with pytest.raises(PolicyError, match=r"(?s)second.*trace\(.*first"):
        builder.build()


@pytest.mark.parametrize(
    ("syscall", "architecture", "line"), [("dupp", "x86_64", 4), ("dup", "x86-64", 5), ("dup", "x86_64", 6)]
)
def test_an_error_is_blamed_on_the_field_that_is_wrong(syscall: str, architecture: str, line: int) -> None:
    text = (
        f'schema_version: 1\nsyscalls {{\n  raw_filters {{\n    syscall: "{syscall}"\n'
        f'    architecture: "{architecture}"\n    assembly: "ret maybe"\n  }}\n}}\n'
    )
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(text, "raw.textproto")
    assert caught.value.line == line


def test_text_errors_carry_the_line_of_the_policy() -> None:
    text = 'schema_version: 1\nsyscalls {\n  raw_filters {\n    syscall: "dup"\n    assembly: "ret maybe"\n  }\n}\n'
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(text, "raw.textproto")
    assert (caught.value.source, caught.value.line) == ("raw.textproto", 5)


def test_too_many_instructions_are_a_clear_error() -> None:
    long = "\n".join(f"jeq32 args[0], {value}, no" for value in range(2100)) + "\nret allow\nno: ret kill"
    with pytest.raises(PolicyError, match="the kernel takes 1 to 4096"):
        filtered(long, "dup")
    # One that fits alone, and not with a copy for each of the calls whose rules differ.
    half = "\n".join(f"jeq32 args[0], {value}, no" for value in range(600)) + "\nret allow\nno: ret kill"
    assert len(filtered(half, "dup").build().compile()) // 8 < 4096
    builder = filtered(half, "dup", "getcwd").trap_syscall("close").block_syscall_with_errno("dup3", 1)
    with pytest.raises(PolicyError, match="at most 4096"):
        builder.add_policy_on_syscalls(["close", "dup3"], half).build().compile()


def test_many_filters_with_several_answers() -> None:
    """Sixteen filters with three answers each are not 3 ** 16 copies, and mean what they say."""
    texts = [
        f"jeq32 args[1], {each}, one\njeq32 args[2], {each}, two\nret allow\none: ret errno 1\ntwo: ret errno 2"
        for each in range(1, 18)
    ]

    def build(count: int) -> PolicyBuilder:
        builder = PolicyBuilder().allow_syscall("dup")
        for text in texts[:count]:
            builder.add_policy_on_syscalls(["dup"], text)
        return builder

    policy = build(16).build()
    assert len(policy.compile()) // 8 < 1000
    assert check_program(policy.resolve("x86_64"), policy.compile("x86_64")) > 1000
    for each in (1, 9, 16):
        assert decides(policy, "dup", 0, each) is Kind.ERRNO
        assert policy.evaluate("dup", (0, each)).action.errno == 1
        assert policy.evaluate("dup", (0, 1, each)).action.errno == (1 if each == 1 else 2)
    assert decides(policy, "dup", 0, 17) is Kind.ALLOW
    with pytest.raises(PolicyError, match="dup has more than 16 raw filters"):
        build(17).build()


def test_copies_of_filters_count_before_they_are_made() -> None:
    returns = "".join(f"jeq32 args[1], {each}, l{each}\n" for each in range(1, 200))
    answers = "".join(f"l{each}: ret errno {each}\n" for each in range(1, 200))
    builder = PolicyBuilder().allow_syscall("dup")
    for each in range(16):
        builder.add_policy_on_syscalls(["dup"], f"jeq32 args[0], {each}, l1\n{returns}ret allow\n{answers}")
    with pytest.raises(PolicyError, match="a raw filter is copied for each answer"):
        builder.build().compile()


# The assembler.


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_comparisons_mean_what_they_say(architecture: Architecture, data: st.DataObject) -> None:
    width = data.draw(st.sampled_from([32, 64]))
    near = st.sampled_from([0, 1, 5, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 5, (1 << 64) - 1])
    wanted, actual = data.draw(near) & (1 << width) - 1, data.draw(near)
    name = data.draw(st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le", "set"]))
    index = data.draw(st.integers(0, 5))
    text = f"j{name}{width} args[{index}], {wanted:#x}, yes\nret kill\nyes: ret allow"
    seen = actual & (1 << width) - 1
    expected = {
        "eq": seen == wanted,
        "ne": seen != wanted,
        "gt": seen > wanted,
        "ge": seen >= wanted,
        "lt": seen < wanted,
        "le": seen <= wanted,
        "set": bool(seen & wanted),
    }[name]
    assembled = assemble(text, architecture)
    validate(assembled.instructions)
    registers = tuple(actual if each == index else 0x5555555555555555 for each in range(6))
    found = Interpreter(encode(assembled.instructions)).run(SeccompData(0, 0, registers))
    assert (assembled.returns[found] == "allow") is expected


def test_a_listing_can_be_assembled_again() -> None:
    for name in ("gzip", "python3"):
        program = Policy.profile(name).compile("x86_64")
        assembled = assemble(disassemble(program), X86_64)
        values = {"allow": ALLOW, "kill_process": KILL, "trap": TRAP, "trace 1": 0x7FF00001}
        values |= {text: ERRNO | int(text.split()[1]) for text in assembled.returns if text.startswith("errno")}
        restored = [
            each._replace(k=values[assembled.returns[each.k]]) if each.code == RET_K else each
            for each in assembled.instructions
        ]
        assert encode(restored) == program


def test_far_targets_are_reached() -> None:
    count = 600
    text = "".join(f"jeq32 args[0], {value}, no\n" for value in range(count)) + "ret allow\nno: ret kill"
    assembled = assemble(text, X86_64)
    validate(assembled.instructions)
    program = Interpreter(encode(assembled.instructions))
    found = [assembled.returns[program.run(SeccompData(0, 0, (value,)))] for value in (0, 1, count - 1, count)]
    assert found == ["kill", "kill", "kill", "allow"]


# The compiled program and the evaluator.


@st.composite
def programs(draw: st.DrawFn) -> str:
    lines = []
    for number in range(draw(st.integers(0, 5))):
        name = draw(st.sampled_from(["jeq", "jne", "jgt", "jset", "jlt"])) + draw(st.sampled_from(["32", "64"]))
        value, target = draw(st.integers(0, 3)), draw(st.sampled_from(["a", "b", "c"]))
        lines.append(f"l{number}: {name} args[{draw(st.integers(0, 2))}], {value}, {target}")
    answers = ["allow", "kill", "errno 1", "errno 2", "trap", "log", "trace hook"]
    lines += [f"{label}: ret {draw(st.sampled_from(answers))}" for label in ("a", "b", "c")]
    return "\n".join(lines)


@settings(max_examples=150, deadline=None)
@given(st.lists(programs(), min_size=1, max_size=3), st.sampled_from(["x86_64", "aarch64"]), st.integers())
def test_random_filters_compile_to_what_they_mean(texts: list[str], architecture: str, seed: int) -> None:
    builder = PolicyBuilder().allow_syscalls("dup", "getcwd").block_syscall_with_errno("dup3", 3).trap_syscall("close")
    builder.trace("lseek", "hook")
    source = random.Random(seed)
    for text in texts:
        names = source.sample(["dup", "getcwd", "dup3", "close", "lseek", "fchdir", "bpf"], k=3)
        builder.add_policy_on_syscalls(names, text)
    policy = builder.build()
    resolved, program = policy.resolve(architecture), Interpreter(policy.compile(architecture))
    check_program(resolved, policy.compile(architecture))
    token = resolved.architecture.audit_token
    for number in [*resolved.by_number, *resolved.raw_by_number]:
        for _ in range(12):
            registers = tuple(source.choice([0, 1, 2, 3, 4, 1 << 32, (1 << 32) + 1]) for _ in range(6))
            verdict = evaluate(resolved, number, registers)
            assert program.run(SeccompData(number, token, registers)) == expected_value(resolved, verdict)


@settings(max_examples=100, deadline=None)
@given(programs())
def test_no_filter_loosens(text: str) -> None:
    """Whatever the filter says, what is permitted with it is permitted without it."""
    plain = PolicyBuilder().allow_syscall("dup").block_syscall_with_errno("dup3", 1).trace("lseek", "hook")
    without = plain.build()
    names = ["dup", "dup3", "lseek", "getcwd", "ptrace"]
    with_filter = plain.add_policy_on_syscalls(names, text).build()
    for name in names:
        for registers in ((0,) * 6, (1,) * 6, (2,) * 6, (3, 0, 1, 0, 0, 0)):
            before, after = without.evaluate(name, registers), with_filter.evaluate(name, registers)
            assert after.action.strength >= before.action.strength


# On the kernel.

CALLER = """
    char text[32];
    long a[7] = {0};
    for (int i = 1; i < argc && i < 8; i++) a[i - 1] = number_of(argv[i]);
    long result = raw(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    int length = snprintf(text, sizeof text, "%ld\\n", result);
    return write(1, text, length) != length;
"""
FILTER = "jeq32 args[0], 7, no\njeq32 args[0], 8, dead\nret allow\nno: ret errno ENOANO\ndead: ret kill"


def test_on_the_kernel(compile_c: CCompiler) -> None:
    """A filter answers one argument, kills another, and lets their neighbour through."""
    program = main_program(compile_c, CALLER)
    builder = static_builder(program).allow_syscall("getpgid")
    number = str(X86_64.number("getpgid"))
    plain, filtered_run = Executor(builder.build()), Executor(builder.add_policy_on_syscall("getpgid", FILTER).build())
    for argument, expected in (("0", None), ("7", b"-55\n")):
        control, found = plain.run([program, number, argument]), filtered_run.run([program, number, argument])
        assert (control.status, found.status) == (Status.OK, Status.OK)
        assert found.stdout == (control.stdout if expected is None else expected)
        assert control.stdout != b"-55\n"
    assert plain.run([program, number, "8"]).status is Status.OK
    killed = filtered_run.run([program, number, "8"])
    assert killed.status is Status.VIOLATION
    (violation,) = killed.violations
    assert violation.syscall == "getpgid"
    assert "raw filter" in killed.report()
    refusing = Executor(builder.build(), mode="refuse").run([program, number, "8"])
    assert (refusing.stdout, len(refusing.violations)) == (b"-1\n", 1)


def test_a_filter_can_ask_a_hook(compile_c: CCompiler) -> None:
    program = main_program(compile_c, CALLER)
    text = "jeq32 args[0], 7, ask\nret allow\nask: ret trace judge"
    policy = static_builder(program).allow_syscall("getpgid").add_policy_on_syscall("getpgid", text).build()
    asked: list[int] = []

    def judge(event: Syscall) -> Verdict:
        asked.append(event.args[0])
        return Verdict.errno(55)

    executor, number = Executor(policy, hooks={"judge": judge}), str(X86_64.number("getpgid"))
    assert executor.run([program, number, "7"]).stdout == b"-55\n"
    assert executor.run([program, number, "0"]).status is Status.OK
    assert asked == [7]
