"""A template: holds the user namespace and the read-only mounts of one file-system policy, ready to clone runs from."""

from __future__ import annotations

import os

from stockade._proto.lean import ForkRequest, MountOperation, TemplatePlan
from stockade._proto.wire import decode
from stockade.comms.channel import Channel
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
        _serve(control, base)
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
    network = 0 if plan.host_network else process.CLONE_NEWNET
    with Step("unshare", "user, mount and network namespaces"):
        process.unshare(process.CLONE_NEWUSER | process.CLONE_NEWNS | network)
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


def _serve(control: Channel, base: init.Base) -> None:
    """Clone one init for each request, until the forkserver closes the connection."""
    while True:
        try:
            payload, descriptors = control.receive()
        except EOFError:
            return
        channel = Channel.from_descriptor(descriptors[0])
        try:
            _clone(payload, channel, descriptors[1:], base)
        except Exception as error:
            report(channel, error, "template")
        channel.close()
        for descriptor in descriptors[1:]:
            os.close(descriptor)


def _clone(payload: bytes, channel: Channel, sources: list[int], base: init.Base) -> None:
    """Clone an init that builds the box which `payload`, a ForkRequest, asks for."""
    request = decode(ForkRequest, payload)
    assigned = assign_sources(request.run_mounts, sources)
    shares_network = request.box is not None and request.box.shared_network
    with Step("clone", "namespaces of the run"):
        pid, pidfd = process.clone(RUN_NAMESPACES | (0 if shares_network else process.CLONE_NEWNET))
    if pid == 0:
        init.run(request, channel, assigned, base)
    os.close(pidfd)


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
