"""A program that has initialised itself forks a sandboxed copy of itself for each request.

For each copy three processes are forked: a short-lived one that makes the namespaces (the program itself may have
threads, which the kernel does not let into new ones), the init of the copy, and the copy. The program itself is not
sandboxed; a copy is, before it returns from here.
"""

from __future__ import annotations

import gc
import os
import sys

from stockade._proto.lean import Command, Fork, Launch, Ready, Reply, Serving
from stockade._proto.wire import decode, encode
from stockade.client import check_in
from stockade.client.connection import Connection
from stockade.client.errors import ClientError
from stockade.comms.channel import Channel
from stockade.kernel import mount, process, signals
from stockade.sandboxee import identity, init, launch, template
from stockade.sandboxee.steps import Step, StepError, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

STEP = "fork_server"


def serve(connection: Connection) -> Launch:
    """Fork a copy for each request; returns in each copy, sandboxed, with what it was launched with.

    SystemExit in the program itself when the executor has closed the connection.
    """
    channel = connection.channel
    for stream in (sys.stdout, sys.stderr):  # or every copy would write what waits there
        if stream is not None and not stream.closed:
            stream.flush()
    gc.collect()
    gc.freeze()  # a collection in a copy would touch, and so copy, every page
    channel.send(encode(Reply(serving=Serving())))
    while True:
        try:
            payload, descriptors = channel.receive()
        except EOFError:
            raise SystemExit(0) from None
        request = decode(Command, payload).fork
        if request is None or request.box is None or len(descriptors) != 1:
            raise ClientError("the executor sent something else than Fork")
        launched = _fork(request, Channel.from_descriptor(descriptors[0]), connection.second)
        if launched is not None:
            return launched


def _fork(request: Fork, run: Channel, proc: int) -> Launch | None:
    """Make one copy for the run behind `run`. Returns its launch in the copy, None in the program itself."""
    mask = signals.replace_signal_mask(signals.ALL_SIGNALS)  # the program's handlers are not for init
    try:
        with Step("fork", "the program's copy"):
            pid = os.fork()
    except StepError as error:
        report(run, error, STEP)
        pid = -1
    if pid == 0:
        return _Copy(request, run, proc, mask).become()
    signals.set_signal_mask(mask)
    run.close()
    if pid > 0:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            return None  # the program ignores SIGCHLD: the kernel has reaped it
    return None


class _Copy:
    """What a copy needs on its way from the first fork to the return."""

    def __init__(self, request: Fork, run: Channel, proc: int, mask: int) -> None:
        self._request, self._run, self._proc, self._mask = request, run, proc, mask
        self._collects = gc.isenabled()
        self._inert: list[int] = []

    def become(self) -> Launch:
        """In the first child: make the box, and return in the copy alone. Nobody else returns."""
        gc.disable()
        try:
            self._disarm_descriptors()
            self._make_namespaces()
            pid = os.fork()
        except BaseException as error:
            self._fail(error)
        if pid:
            os._exit(0)
        try:
            gate = self._build_box()
            pid = os.fork()
        except BaseException as error:
            self._fail(error)
        if pid:
            self._be_init(pid, gate[1])
        try:
            os.close(gate[1])
            return self._be_launched(gate[0])
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> NoReturn:
        report(self._run, error, STEP)
        os._exit(1)

    def _disarm_descriptors(self) -> None:
        """Nothing that the program has open leads out of its copies, or from one to another.

        The numbers stay taken, by a pipe of the copy's own at its end: objects of the program that own one may close it
        at any time.
        """
        kept = (0, 1, 2, self._proc, self._run.fileno())
        with Step("descriptors"):
            listing = os.open("self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc)
            numbers = [int(name) for name in os.listdir(listing)]
            os.close(listing)
            self._inert = [number for number in numbers if number not in kept and number != listing]
            nothing, writer = os.pipe()
            os.close(writer)
            for number in self._inert:
                os.dup2(nothing, number, inheritable=False)
            process.close_all_but([*kept, *self._inert])

    def _make_namespaces(self) -> None:
        request = self._request
        assert request.box is not None
        network = 0 if request.box.shared_network else process.CLONE_NEWNET
        identity.set_dumpable(identity.DUMPABLE)  # or its own id maps could not be written
        with Step("unshare", "namespaces of the copy"):
            process.unshare(process.CLONE_NEWUSER | template.RUN_NAMESPACES | network)
        with Step("open_proc", "self"):
            own = os.open("self", mount.O_PATH_FLAGS | os.O_DIRECTORY, dir_fd=self._proc)
        ids = (request.uid, request.gid)
        identity.write_id_maps(own, "self", ids, ids)
        os.close(own)

    def _build_box(self) -> tuple[int, int]:
        """In the init of the copy: everything up to the fork of the copy. Returns the two ends of its gate."""
        request = self._request
        os.setsid()
        os.chdir("/")
        base = init.Base((request.uid, request.gid), self._proc, left_host_root=True)
        init.build_box(request.run_mounts, request.box, [], base)
        with Step("pipe"):
            return os.pipe()

    def _be_init(self, pid: int, gate: int) -> NoReturn:
        try:
            signals.reset_dispositions()
            process.set_name(b"stockade-init")
            init.guard(self._run, gate, pid, process.pidfd_open(pid))
        except BaseException as error:
            report(self._run, error, "init")
        finally:
            os._exit(1)

    def _be_launched(self, gate: int) -> Launch:
        """In the copy: become what the executor launches. Returns under the filter."""
        run = self._run
        launch.reset_process_state()
        launched, descriptors = launch.receive_launch(run)
        program = launch.check_program(launched)
        launch.place_descriptors(launched, run, descriptors, gate, inert=self._inert)
        launch.set_process_state(launched)
        run.send(encode(Reply(ready=Ready(program=launched.argv[0]))))
        launch.wait_for_go(run)
        launch.give_up_privileges(launched)
        os.environb.clear()
        for entry in launched.env:
            name, _, value = entry.partition(b"=")
            os.environb[name] = value
        signals.set_signal_mask(self._mask)
        check_in.install(program, danger_speculation=launched.danger_speculation)
        run.close()
        if self._collects:
            gc.enable()
        return launched
