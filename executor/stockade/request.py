"""What the executor sends: the request for a box, and the launch of a program in it, checked before anything starts."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from stockade._proto import comms_pb2, policy_pb2
from stockade._proto.lean import CompiledProgram, Launch, ResourceLimit
from stockade.errors import PolicyError, UnsupportedError
from stockade.kernel.architectures import native
from stockade.limits import DEFAULT_OPEN_FILES, Limits
from stockade.policy.box.filesystem import Plan
from stockade.policy.policy import Policy
from stockade.sandboxee.launch import program_digest

if TYPE_CHECKING:
    from _typeshed import StrOrBytesPath

DEFAULT_HOSTNAME = "stockade"
DEFAULT_UMASK = 0o022


def compiled_program(policy: Policy, mode: str) -> CompiledProgram:
    """The program of `policy` for this machine, tied to the policy by its digest."""
    program = CompiledProgram(architecture=native().audit_token, instructions=policy.compile(native(), mode), mode=mode)
    program.digest = program_digest(policy.digest, program)
    return program


def fork_request(message: policy_pb2.Policy, plan: Plan, *, spare: bool, shared_network: bool) -> bytes:
    """A serialised ForkRequest: the same bytes for each run of an executor, so that runs share a template.

    `spare` says that nobody waits for the box yet. With `shared_network` the run gets the template's own
    empty network namespace instead of a private one, which is what makes the start and the end of a box expensive.
    """
    options, network = message.options, message.network
    box = comms_pb2.BoxOptions(
        hostname=options.hostname or DEFAULT_HOSTNAME,
        domainname=options.domainname,
        loopback=network.mode == policy_pb2.Network.LOOPBACK,
        shared_network=shared_network,
    )
    template = plan.template.SerializeToString(deterministic=True)
    return comms_pb2.ForkRequest(
        template=template, run_mounts=plan.run_mounts, box=box, spare=spare
    ).SerializeToString()


def reachable_rlimits(limits: Limits) -> dict[int, tuple[int, int]]:
    """The resource limits to set. The default of open files yields to a lower hard limit; what was asked does not.

    That goes for root too: the sandboxee, which sets them, may only lower what it inherits.
    """
    wanted = limits.rlimits()
    for number, (value, _) in list(wanted.items()):
        hard = resource.getrlimit(number)[1]
        if hard == resource.RLIM_INFINITY or value <= hard:
            continue
        if number == resource.RLIMIT_NOFILE and limits.open_files is None:
            wanted[number] = (min(DEFAULT_OPEN_FILES, hard), min(DEFAULT_OPEN_FILES, hard))
        else:
            name = f"resource limit {number}"
            raise UnsupportedError(name, f"{value} is above the hard limit {hard} of this process", "ask for less")
    return wanted


def make_launch(
    policy: Policy,
    program: CompiledProgram,
    limits: Limits,
    rlimits: Mapping[int, tuple[int, int]],
    args: StrOrBytesPath | Sequence[StrOrBytesPath],
    env: Mapping[str, str] | Mapping[bytes, bytes] | None,
    cwd: StrOrBytesPath,
    executable: StrOrBytesPath | int | IO[Any] | None,
) -> Launch:
    """The Launch message for one run, without its descriptors. Raises ValueError for what no exec can carry."""
    argv = [os.fsencode(each) for each in ([args] if isinstance(args, (str, bytes, os.PathLike)) else args)]
    if not argv or not argv[0]:
        raise ValueError("args is empty: the program to run is missing")
    name, by_descriptor = argv[0], False
    if isinstance(executable, (str, bytes, os.PathLike)):
        name = os.fsencode(executable)
    elif executable is not None:
        by_descriptor = True
    environment = [_variable(os.fsencode(name), os.fsencode(value)) for name, value in (env or {}).items()]
    directory = os.fsencode(cwd)
    if any(b"\0" in text for text in (*argv, name, directory, *environment)):
        raise ValueError("an argument, the environment or a path contains a NUL byte")
    return Launch(
        policy=policy.serialized,
        policy_digest=policy.digest,
        programs=[program],
        program=name,
        program_descriptor=by_descriptor,
        argv=argv,
        env=environment,
        cwd=directory,
        rlimits=[ResourceLimit(resource=number, soft=soft, hard=hard) for number, (soft, hard) in rlimits.items()],
        umask=DEFAULT_UMASK,
        nice=max(os.getpriority(os.PRIO_PROCESS, 0), int(limits.nice or 0), 0),
        danger_speculation=policy.message.options.danger_speculation,
        cpus=sorted(os.sched_getaffinity(0)),
    )


def _variable(name: bytes, value: bytes) -> bytes:
    if not name or b"=" in name:
        raise ValueError(f"illegal environment variable name {os.fsdecode(name)!r}")
    return name + b"=" + value


def check_mode(mode: str, modes: Sequence[str]) -> None:
    """Raise PolicyError for a mode that does not exist."""
    if mode not in modes:
        raise PolicyError(f"mode {mode!r} is none of {', '.join(modes)}")
