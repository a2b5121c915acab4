"""A template: holds the user namespace and the read-only mounts of one file-system policy, ready to clone runs from."""

from __future__ import annotations

import os

from stockade._proto.lean import Adopt, Command, ForkRequest, MountOperation, Reply, TemplatePlan
from stockade._proto.wire import decode, encode
from stockade.comms.channel import Channel, ChannelError
from stockade.kernel import mount, process
from stockade.sandboxee import identity, init, mounts
from stockade.sandboxee.idmap import open_usable_source
from stockade.sandboxee.steps import Step, StepError, report

RUN_NAMESPACES = (
    process.CLONE_NEWPID | process.CLONE_NEWNS | process.CLONE_NEWIPC | process.CLONE_NEWUTS | process.CLONE_NEWCGROUP
)
# Answers of the template to the forkserver while it is built.
NEEDS_MAPS, READY = b"M", b"R"


def source_identities(plan: TemplatePlan) -> list[tuple[int, int, int] | None]:
    """What the sources of the plan are at this moment; a template is used again only while this stays the same."""
    return [mount.identity(operation.source) for operation in plan.mounts if mounts.is_bind(operation)]


def run(plan: TemplatePlan, control: Channel, first_run: Channel, forkserver: int) -> None:
    """Be a template. Called in the child of the forkserver; never returns.

    A failure to build is reported on `first_run`, the reply socket of the run that asked for the template.
    """
    try:
        process.close_all_but([0, 1, 2, control.fileno(), first_run.fileno()])
        base = _build(plan, control, forkserver)
        first_run.close()
        control.send(READY)
    except BaseException as error:
        report(first_run, error, "template")
        os._exit(1)
    try:
        _Server(control, base).serve()
        _drain()
    finally:
        os._exit(0)


def _build(plan: TemplatePlan, control: Channel, forkserver: int) -> init.Base:
    by_root = os.geteuid() == 0
    ids = (plan.uid, plan.gid)
    sources: list[int | None] = []
    if by_root:
        # Still real root: the sources are opened before the privilege to reach them is gone.
        sources = [open_usable_source(operation) for operation in plan.mounts]
        with Step("groups"):
            os.setgroups([])
    else:
        identity.set_dumpable(identity.DUMPABLE)
    host = identity.host_ids()
    with Step("unshare", "user, mount and network namespaces"):
        process.unshare(process.CLONE_NEWUSER | process.CLONE_NEWNS | process.CLONE_NEWNET)
    if by_root:
        # The owner of the namespace is host root, so that no process of the unprivileged host uid has power over it.
        _ask_for_maps(control)
        identity.become(*ids)
    else:
        identity.write_id_maps(None, "self", ids, host)
    identity.set_dumpable(identity.NOT_DUMPABLE)
    process.prctl(process.PR_SET_PDEATHSIG, process.SIGKILL)
    if os.getppid() != forkserver:
        raise StepError("parent", 0, "", "the forkserver is gone")
    process.set_name(b"stockade-tmpl")
    with Step("private_mounts", "/"):
        mount.make_private()
    if not by_root:
        sources = mounts.open_sources(plan.mounts)
    tree = mounts.Tree.create()
    mounts.execute(tree, plan.mounts, sources)
    mounts.make_mount_points(tree, plan.mount_points)
    tree.seal()
    with Step("open_proc", "/proc"):
        proc = os.open("/proc", mount.O_PATH_FLAGS | os.O_DIRECTORY)
    os.fchdir(tree.root)
    if plan.leaves_host_root:
        mounts.enter_root_and_forget_the_old(tree, proc)
    os.close(tree.root)
    return init.Base(ids, proc, left_host_root=plan.leaves_host_root)


def _ask_for_maps(control: Channel) -> None:
    control.send(NEEDS_MAPS)
    answer, _ = control.receive()
    if answer != NEEDS_MAPS:
        raise StepError("id_map", 0, "", "the forkserver could not write the id maps")


class _Server:
    """Answers the requests of the forkserver: clones an init for each, or hands over a box that was built ahead."""

    def __init__(self, control: Channel, base: init.Base) -> None:
        self._control, self._base = control, base
        self._spare: Channel | None = None
        self._spare_payload = b""

    def serve(self) -> None:
        """Answer until the forkserver closes the connection."""
        while True:
            try:
                payload, descriptors = self._control.receive()
            except EOFError:
                break
            channel = Channel.from_descriptor(descriptors[0])
            try:
                if payload != self._spare_payload or not self._adopt_spare(channel):
                    self._clone(payload, channel, descriptors[1:])
            except Exception as error:
                report(channel, error, "template")
            channel.close()
            for descriptor in descriptors[1:]:
                os.close(descriptor)
            self._prepare_spare(payload)
        self._drop_spare()

    def _clone(self, payload: bytes, channel: Channel, sources: list[int], *, spare: bool = False) -> None:
        """Clone an init that builds the box which `payload`, a ForkRequest, asks for."""
        request = decode(ForkRequest, payload)
        assigned = assign_sources(request.run_mounts, sources)
        shares_network = request.box is not None and request.box.shared_network
        with Step("clone", "namespaces of the run"):
            pid, pidfd = process.clone(RUN_NAMESPACES | (0 if shares_network else process.CLONE_NEWNET))
        if pid == 0:
            init.run(request, channel, assigned, self._base, spare=spare)
        os.close(pidfd)

    def _adopt_spare(self, channel: Channel) -> bool:
        """Give the spare box to the run behind `channel`. False when there is none that works."""
        spare, self._spare = self._spare, None
        if spare is None:
            return False
        try:
            started, pidfds = spare.receive()
            if decode(Reply, started).started is None:
                return False
            spare.send(encode(Command(adopt=Adopt())), [channel.fileno()])
            channel.send(started, pidfds)
            for descriptor in pidfds:
                os.close(descriptor)
        except (EOFError, ConnectionError, ChannelError):
            return False
        finally:
            spare.close()
        return True

    def _prepare_spare(self, payload: bytes) -> None:
        """Build a box ahead for the next request like this one, if that is asked for and there is none."""
        if self._spare is not None and payload == self._spare_payload:
            return
        request = decode(ForkRequest, payload)
        if not request.spare or any(mounts.is_bind(operation) for operation in request.run_mounts):
            return
        self._drop_spare()
        ours, its = Channel.pair()
        try:
            self._clone(payload, its, [], spare=True)
            self._spare, self._spare_payload = ours, payload
        except StepError:
            ours.close()  # the next request will meet the same failure, and has somebody to tell
        its.close()

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None


def assign_sources(operations: list[MountOperation], descriptors: list[int]) -> list[int | None]:
    """Match the sources that the forkserver has opened, one for each bind in order, to the operations."""
    remaining = iter(descriptors)
    return [next(remaining) if mounts.is_bind(operation) else None for operation in operations] if descriptors else []


def _drain() -> None:
    """Stay until the last run has ended: runs die with their template."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
