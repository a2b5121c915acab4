"""How a program that is executed without the filter learns of its connection: one variable of its environment.

Its value says what the program is there for, and two descriptors: `check-in:<connection>:<launch>` for one that has
the filter installed by its own call, `fork:<connection>:<proc>` for one that forks sandboxed copies of itself.
"""

from __future__ import annotations

import fcntl
import os

from stockade._proto.lean import CompiledProgram, Launch
from stockade._proto.wire import encode
from stockade.sandboxee.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.comms.channel import Channel

NAME = "STOCKADE_CLIENT"
CHECK_IN, FORK = "check-in", "fork"
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def client_variable(launch: Launch, program: CompiledProgram, channel: Channel, proc: int) -> bytes:
    """The entry of the environment, NAME=VALUE. The descriptors that it names stay open over the exec.

    `proc` is -1 but for a program that forks. The launch, for the other kind, is the part of `launch` that is about the
    filter, in a sealed memory file: it may be longer than what fits a socket while nobody reads.
    """
    what, second = (FORK, proc) if proc >= 0 else (CHECK_IN, _memory_file(launch, program))
    for descriptor in (channel.fileno(), second):
        os.set_inheritable(descriptor, True)
    return f"{NAME}={what}:{channel.fileno()}:{second}".encode()


def _memory_file(launch: Launch, program: CompiledProgram) -> int:
    content = encode(
        Launch(
            policy=launch.policy,
            policy_digest=launch.policy_digest,
            programs=[program],
            danger_speculation=launch.danger_speculation,
        )
    )
    with Step("launch_file"):
        descriptor = os.memfd_create("stockade-launch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        written = 0
        while written < len(content):
            written += os.write(descriptor, content[written:])
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
