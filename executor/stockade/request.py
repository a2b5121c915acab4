"""What the executor sends: the request for a box, and the launch of a program in it, checked before anything starts."""

from __future__ import annotations

import difflib
import os
import resource
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from stockade._proto import comms_pb2, policy_pb2
from stockade._proto.lean import CompiledProgram, Launch, ResourceLimit
from stockade.errors import PolicyError, UnsupportedError
from stockade.kernel.architectures import native
from stockade.limits import DEFAULT_OPEN_FILES, Limits
from stockade.monitor.recorder import MAXIMUM_EVENTS
from stockade.policy.box.filesystem import Plan
from stockade.policy.policy import Policy
from stockade.policy.rules import MODES
from stockade.sandboxee.client_variable import NAME
from stockade.sandboxee.launch import program_digest

if TYPE_CHECKING:
    from _typeshed import StrOrBytesPath

# When a program comes under its policy: as it is executed, or by its own call (client library).
AT_EXEC, AT_CLIENT = "exec", "client"
MONITORS = ("ptrace", "unotify")
DEFAULT_HOSTNAME = "stockade"
DEFAULT_UMASK = 0o022


def compiled_program(policy: Policy, mode: str, monitor: str = "ptrace") -> CompiledProgram:
    """The program of `policy` for this machine, in the form that the monitor needs, tied to the policy by its digest.

    Raises PolicyError when there is no such form.
    """
    instructions = policy.compile(native(), mode)
    if monitor == "unotify":
        from stockade.policy.bpf.notify import notifying

        instructions = notifying(instructions)
    program = CompiledProgram(architecture=native().audit_token, instructions=instructions, mode=mode)
    program.digest = program_digest(policy.digest, program)
    return program


def fork_request(
    message: policy_pb2.Policy, plan: Plan, *, spare: bool, shared_network: bool, reports_end: bool = False
) -> bytes:
    """A serialised ForkRequest: the same bytes for each run of an executor, so that runs share a template.

    `spare` says that nobody waits for the box yet. With `shared_network` the run gets the template's own
    empty network namespace instead of a private one, which is what makes the start and the end of a box expensive.
    With `reports_end` its init tells how the program ended.
    """
    box = box_options(message, shared_network=shared_network)
    box.reports_end = reports_end
    template = plan.template.SerializeToString(deterministic=True)
    return comms_pb2.ForkRequest(
        template=template, run_mounts=plan.run_mounts, box=box, spare=spare
    ).SerializeToString()


def box_options(message: policy_pb2.Policy, *, shared_network: bool) -> comms_pb2.BoxOptions:
    """The names and the network of a box for that policy."""
    options, network = message.options, message.network
    return comms_pb2.BoxOptions(
        hostname=options.hostname or DEFAULT_HOSTNAME,
        domainname=options.domainname,
        loopback=network.mode == policy_pb2.Network.LOOPBACK,
        shared_network=shared_network,
    )


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
    if any(os.fsencode(each) == NAME.encode() for each in env or {}):
        raise ValueError(f"the environment variable {NAME} is stockade's own")
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


def check_client(sandbox_at: str, monitor: str) -> None:
    """Raise PolicyError for a moment of sandboxing that does not exist, or that the monitor cannot follow."""
    if sandbox_at not in (AT_EXEC, AT_CLIENT):
        raise PolicyError(f"sandbox_at is {AT_EXEC!r} or {AT_CLIENT!r}, not {sandbox_at!r}")
    if sandbox_at == AT_CLIENT and monitor != "ptrace":
        raise PolicyError(
            f"a program that sandboxes itself needs monitor='ptrace': the monitor {monitor!r} cannot follow it before"
        )


def check_mode(mode: str, modes: Sequence[str]) -> None:
    """Raise PolicyError for a mode that does not exist, or that programs cannot be run in."""
    if mode not in modes:
        listed = ", ".join(modes)
        if mode in MODES:
            raise PolicyError(f"mode {mode!r} is for learning a policy, which this version does not do: use {listed}")
        near = difflib.get_close_matches(mode, modes, 1) if isinstance(mode, str) else []
        raise PolicyError(f"mode {mode!r} is none of {listed}", suggestion=near[0] if near else None)


def check_monitor(monitor: str) -> int:
    """Return the flags of seccomp(2) with which a filter is installed for `monitor`; 0 when it needs none.

    Raises PolicyError for a monitor that does not exist, UnsupportedError for one that this kernel has no means for.
    """
    if monitor not in MONITORS:
        near = difflib.get_close_matches(monitor, MONITORS, 1) if isinstance(monitor, str) else []
        raise PolicyError(f"monitor {monitor!r} is none of {', '.join(MONITORS)}", suggestion=near[0] if near else None)
    if monitor == "ptrace":
        return 0
    from stockade.kernel.seccomp_notify import listener_flags
    from stockade.monitor import unotify_driver  # noqa: F401  (now, when there is somebody to tell of a failure)

    flags = listener_flags()
    if not flags:
        reason = "this kernel, or a filter of the container that this runs in, does not offer seccomp user notification"
        raise UnsupportedError("unotify monitor", reason, 'use monitor="ptrace"')
    return flags


def check_recording(flight_recorder: int, trace_summary: bool, monitor: str) -> None:
    """Raise PolicyError for a size that the flight recorder cannot have, and for what the monitor cannot measure."""
    if isinstance(flight_recorder, bool) or not isinstance(flight_recorder, int):
        raise PolicyError(f"flight_recorder is a number of events, not {flight_recorder!r}")
    if not 0 <= flight_recorder <= MAXIMUM_EVENTS:
        raise PolicyError(f"flight_recorder is from 0 to {MAXIMUM_EVENTS} events, not {flight_recorder}")
    if not isinstance(trace_summary, bool):
        raise PolicyError(f"trace_summary is True or False, not {trace_summary!r}")
    if trace_summary and monitor != "ptrace":
        raise PolicyError(f"trace_summary needs the monitor ptrace: {monitor} does not see calls return")
