"""The sandboxee, from its fork out of init to the exec of the program."""

from __future__ import annotations

import fcntl
import os
import stat
from _blake2 import blake2b

from stockade._proto.lean import Command, CompiledProgram, Launch, Ready, Reply, ResourceLimit
from stockade._proto.wire import decode, encode
from stockade.comms.channel import Channel
from stockade.kernel import process, seccomp, signals
from stockade.kernel.seccomp_constants import (
    BPF_MAXINSNS,
    FREE_EXEC_COOKIE,
    INSTRUCTION_SIZE,
    SECCOMP_FILTER_FLAG_SPEC_ALLOW,
)
from stockade.kernel.trap import prepare_trap
from stockade.sandboxee.client_variable import client_variable
from stockade.sandboxee.init_filter import AUDIT_ARCH
from stockade.sandboxee.steps import Step, StepError, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
DIGEST_SIZE = 32
PERSONALITY_LINUX = 0
EACCES, EINVAL, ENOENT, ENOEXEC = 13, 22, 2, 8


def run(channel: Channel, gate: int, *, spare: bool, proc: int = -1) -> None:
    """Be the sandboxee. Called in the child of init; never returns.

    `gate` is the reading end of a pipe that init closes when it has protected itself. `proc` is a descriptor of the
    box's own proc for a program that forks copies of itself.
    """
    try:
        reset_process_state()
        if spare and not channel.is_readable():
            _touch()
        _run(channel, gate, proc)
    except EOFError:
        os._exit(1)  # the executor is gone: nobody to tell
    except BaseException as error:
        report(channel, error, "launch")
    finally:
        os._exit(1)


def _run(channel: Channel, gate: int, proc: int) -> None:
    launch, descriptors = receive_launch(channel)
    program = check_program(launch)
    program_descriptor, proc = place_descriptors(launch, channel, descriptors, gate, proc)
    variable = client_variable(launch, program, channel, proc) if launch.deferred else None
    trap = _prepare_trap() if launch.listener_flags else None  # before there may be no memory for it
    set_process_state(launch)
    path, flags, where = _find_program(launch, program_descriptor)
    if variable is not None:
        _execute_unfiltered(launch, variable, channel, (where, path, flags))
    execute = process.prepare_execveat(where, path, launch.argv, launch.env, flags, FREE_EXEC_COOKIE)
    filter_flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW if launch.danger_speculation else 0
    if trap is not None:
        install_notifying = seccomp.prepare_listener(program.instructions, filter_flags | launch.listener_flags)
        _execute_notifying(launch, channel, path, install_notifying, trap, execute)
    install = seccomp.prepare_filter(program.instructions, filter_flags)
    channel.send(encode(Reply(ready=Ready(program=path))))
    wait_for_go(channel)
    give_up_privileges(launch)
    error = install()
    if error:
        raise StepError("seccomp", error, "", "the kernel refused the filter")
    execute()
    os._exit(1)  # not reached while a monitor follows the exec


def _prepare_trap() -> Callable[[int], None]:
    with Step("listener"):
        return prepare_trap()


def _execute_notifying(
    launch: Launch,
    channel: Channel,
    path: bytes,
    install: Callable[[], int],
    trap: Callable[[int], None],
    execute: Callable[[], int],
) -> None:
    """Install a filter with a listener, have the tracer take that, execute the program. Returns only by a StepError.

    Any system call after the filter is on would wait for somebody who has the listener. So the tracer is told its
    number by a trap, and by another one the error number of an exec that has failed.
    """
    channel.send(encode(Reply(ready=Ready(program=path))))
    wait_for_go(channel)
    give_up_privileges(launch)
    listener = install()
    if listener < 0:
        raise StepError("seccomp", -listener, "", "the kernel refused the filter")
    trap(listener)
    trap(execute())
    os._exit(1)  # not reached: the tracer ends us


def _execute_unfiltered(launch: Launch, variable: bytes, channel: Channel, target: tuple[int, bytes, int]) -> None:
    """Execute a program that has the filter installed later, by itself or in copies of itself (client library).

    It keeps the connection, of which `variable` tells it. Returns only by a StepError.
    """
    where, path, flags = target
    execute = process.prepare_execveat(where, path, launch.argv, [*launch.env, variable], flags, 0)
    channel.send(encode(Reply(ready=Ready(program=path))))
    wait_for_go(channel)
    give_up_privileges(launch)
    raise StepError("exec", execute(), os.fsdecode(path))


def _touch() -> None:
    """Go through the motions once while nobody waits: the first use of each page after a fork copies it."""
    limit = ResourceLimit(resource=1, soft=1, hard=1)
    sample = Launch(policy=b"p", argv=[b"a"], env=[b"e"], cwd=b"/", descriptors=[0], rlimits=[limit], cpus=[0])
    sample.programs = [CompiledProgram(instructions=b"i" * INSTRUCTION_SIZE, mode="enforce")]
    copy = decode(Command, encode(Command(launch=sample))).launch
    assert copy == sample
    blake2b(program_digest(copy.policy, sample.programs[0]))
    process.prepare_execveat(-1, b"", copy.argv, copy.env, 0, 0)
    seccomp.prepare_filter(sample.programs[0].instructions)


def receive_launch(channel: Channel) -> tuple[Launch, list[int]]:
    """Wait for the Launch and its descriptors."""
    payload, descriptors = channel.receive()
    launch = decode(Command, payload).launch
    if launch is None:
        raise StepError("request", EINVAL, "", "something else than a Launch was sent")
    return launch, descriptors


def check_program(launch: Launch) -> CompiledProgram:
    """The program for this machine, after checking that it belongs to the policy. Nothing is compiled here."""
    if blake2b(launch.policy, digest_size=DIGEST_SIZE).digest() != launch.policy_digest:
        raise StepError("check_policy", EINVAL, "", "the policy does not have the digest that came with it")
    token = AUDIT_ARCH.get(os.uname().machine)
    fitting = [program for program in launch.programs if program.architecture == token]
    if len(fitting) != 1:
        raise StepError("check_policy", EINVAL, "", f"{len(fitting)} programs for {os.uname().machine}, one is needed")
    program = fitting[0]
    if program_digest(launch.policy_digest, program) != program.digest:
        raise StepError("check_policy", EINVAL, "", "the compiled program does not belong to the policy")
    size = len(program.instructions)
    if not size or size % INSTRUCTION_SIZE or size > BPF_MAXINSNS * INSTRUCTION_SIZE:
        raise StepError("check_policy", EINVAL, "", f"a compiled program of {size} bytes")
    return program


def program_digest(policy_digest: bytes, program: CompiledProgram) -> bytes:
    """Digest that ties a compiled program to its policy, mode and architecture."""
    parts = policy_digest + program.mode.encode() + program.architecture.to_bytes(4, "little") + program.instructions
    return blake2b(parts, digest_size=DIGEST_SIZE).digest()


def place_descriptors(
    launch: Launch,
    channel: Channel,
    descriptors: list[int],
    gate: int,
    proc: int = -1,
    inert: Sequence[int] = (),
) -> tuple[int | None, int]:
    """Put the passed descriptors at their numbers, and close the rest but the connection, the program, `proc`, `inert`.

    Returns the descriptors of the program, if it came as one, and of `proc`, if there is one.
    """
    wanted = launch.descriptors
    if len(descriptors) != len(wanted) + launch.program_descriptor:
        raise StepError("descriptors", EINVAL, "", f"{len(descriptors)} arrived, {len(wanted)} were announced")
    base = max([2, *wanted]) + 1
    with Step("descriptors"):
        high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, base) for descriptor in descriptors]
        kept = fcntl.fcntl(channel.fileno(), fcntl.F_DUPFD_CLOEXEC, base)
        if proc >= 0:
            proc = fcntl.fcntl(proc, fcntl.F_DUPFD_CLOEXEC, base)
        os.read(gate, 1)  # returns when init has closed the other end
        for source, target in zip(high, wanted, strict=False):  # the program's may be one more
            os.dup2(source, target)
        program_descriptor = high[-1] if launch.program_descriptor else None
        channel.detach()  # not closed: a passed descriptor may have its number now
        channel.replace(kept)
        others = [other for other in (program_descriptor, proc, *inert) if other is not None and other >= 0]
        process.close_all_but([*wanted, kept, *others])
    return program_descriptor, proc


def reset_process_state() -> None:
    """Nothing of the caller's process state is inherited by accident: what is equal for all runs.

    Signal dispositions are the defaults since the forkserver and init have reset them.
    """
    with Step("process_state"):
        os.setsid()
        signals.set_signal_mask(0)
        process.personality(PERSONALITY_LINUX)
        process.prctl(process.PR_SET_TIMERSLACK, 0)
        process.join_new_session_keyring()


def set_process_state(launch: Launch) -> None:
    """What each run asks for."""
    with Step("process_state"):
        os.umask(launch.umask)
        if launch.cpus:
            os.sched_setaffinity(0, launch.cpus)
    with Step("nice", str(launch.nice)):
        if launch.nice > os.getpriority(os.PRIO_PROCESS, 0):
            os.setpriority(os.PRIO_PROCESS, 0, launch.nice)
    for limit in launch.rlimits:
        with Step("rlimit", str(limit.resource)):
            process.set_resource_limit(limit.resource, limit.soft, limit.hard)
    with Step("cwd", os.fsdecode(launch.cwd)):
        os.chdir(launch.cwd)


def _find_program(launch: Launch, descriptor: int | None) -> tuple[bytes, int, int]:
    """(path, flags, directory descriptor) for execveat(2)."""
    if descriptor is not None:
        _check_not_script(descriptor)
        return b"", process.AT_EMPTY_PATH, descriptor
    name = launch.program
    if b"/" in name:
        _check_executable(name)
        return name, 0, process.AT_FDCWD
    path = next((entry[5:] for entry in launch.env if entry.startswith(b"PATH=")), DEFAULT_PATH)
    refusal: StepError | None = None
    for directory in path.split(b":"):
        candidate = os.path.join(directory or b".", name)
        try:
            _check_executable(candidate)
        except StepError as error:
            if error.errno not in (ENOENT, 20):
                refusal = refusal or error
            continue
        return candidate, 0, process.AT_FDCWD
    detail = f"not found inside along PATH={os.fsdecode(path)}"
    raise refusal or StepError("find_program", ENOENT, os.fsdecode(name), detail)


def _check_executable(path: bytes) -> None:
    with Step("find_program", os.fsdecode(path)):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise StepError("find_program", EACCES, os.fsdecode(path), "not a regular file")
    if not os.access(path, os.X_OK):
        raise StepError("find_program", EACCES, os.fsdecode(path), "not executable")


def _check_not_script(descriptor: int) -> None:
    try:
        start = os.pread(descriptor, 2, 0)
    except OSError:
        return  # opened for execution only (O_PATH): the kernel decides
    if start == b"#!":
        detail = "a script cannot be run from a descriptor: its interpreter could not open it again; give its path"
        raise StepError("find_program", ENOEXEC, f"descriptor {descriptor}", detail)


def give_up_privileges(launch: Launch) -> None:
    """What holds for the rest of the process's life besides the filter; threads that it makes later inherit it."""
    with Step("no_new_privs"):
        process.set_no_new_privs()
        if not launch.danger_speculation:
            process.disable_speculation()


def wait_for_go(channel: Channel) -> None:
    """Wait for the executor's Go, which must be all that it says."""
    payload, descriptors = channel.receive()
    if decode(Command, payload).go is None or descriptors:
        raise StepError("request", EINVAL, "", "the executor sent something else than Go")
