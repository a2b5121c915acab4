"""Init, pid 1 of the run's pid namespace: builds the rest of the box, starts the sandboxee, then reaps and forwards.

Once the sandboxee is released, init holds no capability and no descriptor, but for the pipe on which it reports the end
where that is asked for; it is not dumpable, and runs under a fixed filter. When the sandboxee ends init ends, and the
kernel kills whatever else is left in the namespace.
"""

from __future__ import annotations

import os

from stockade._proto.lean import BoxOptions, Ended, ForkRequest, MountOperation, Reply, Started
from stockade._proto.wire import encode
from stockade.kernel import mount, process, signals
from stockade.kernel.network import bring_loopback_up
from stockade.kernel.seccomp import install_filter
from stockade.sandboxee import identity, launch, mounts
from stockade.sandboxee.init_filter import init_filter
from stockade.sandboxee.steps import Step, StepError, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.comms.channel import Channel

INIT = 1


class Base:
    """What a template hands to its runs: (uid, gid) inside, a descriptor of the host's /proc, and where it stands."""

    __slots__ = ("ids", "left_host_root", "proc")

    def __init__(self, ids: tuple[int, int], proc: int, *, left_host_root: bool) -> None:
        self.ids, self.proc, self.left_host_root = ids, proc, left_host_root


def run(request: ForkRequest, channel: Channel, sources: list[int | None], base: Base) -> None:
    """Be init. Called in the freshly cloned child; never returns.

    `sources` holds the opened sources of `request.run_mounts` when the forkserver has opened them (run by root), else
    it is empty. `base` is what the template has made.
    """
    try:
        process.close_all_but(
            [0, 1, 2, base.proc, channel.fileno(), *(source for source in sources if source is not None)]
        )
        os.setsid()
        process.prctl(process.PR_SET_PDEATHSIG, process.SIGKILL)
        process.set_name(b"stockade-init")
        proc = build_box(request.run_mounts, request.box, sources, base)
        process.prctl(process.PR_SET_PDEATHSIG, process.SIGKILL)  # the change of identity has cleared it
        reports_end = request.box is not None and request.box.reports_end
        _start_sandboxee(channel, spare=request.spare, proc=proc, reports_end=reports_end)
    except BaseException as error:
        report(channel, error, "init")
    finally:
        os._exit(1)


def build_box(operations: list[MountOperation], box: BoxOptions | None, sources: list[int | None], base: Base) -> int:
    """Everything from the copied namespaces to a process without any privilege in a nested user namespace.

    Returns the descriptor that `box.keeps_proc` asks for, else -1.
    """
    if box is None:
        raise StepError("request", 0, "", "the request has no box options")
    proc = mounts.detached_proc() if box.keeps_proc else -1
    if operations or not base.left_host_root:
        with Step("open_root", "."):
            tree = mounts.Tree(os.open(".", mount.O_PATH_FLAGS | os.O_DIRECTORY))
        mounts.execute(tree, operations, sources or mounts.open_sources(operations))
        if not base.left_host_root:
            mounts.enter_root_and_forget_the_old(tree, base.proc)
        os.close(tree.root)
    with Step("hostname", box.hostname):
        process.sethostname(box.hostname.encode())
        if box.domainname:
            process.setdomainname(box.domainname.encode())
    if box.loopback:
        with Step("loopback", "lo"):
            bring_loopback_up()
    identity.set_dumpable(identity.DUMPABLE)  # or its own id maps could not be written
    with Step("unshare", "user namespace"):
        process.unshare(process.CLONE_NEWUSER)
    with Step("open_proc", "/proc/self"):
        proc_self = os.open("self", mount.O_PATH_FLAGS | os.O_DIRECTORY, dir_fd=base.proc)
    identity.write_id_maps(proc_self, "self", base.ids, base.ids)
    identity.drop_capabilities()
    os.close(proc_self)
    os.close(base.proc)
    return proc


def _start_sandboxee(channel: Channel, *, spare: bool, proc: int, reports_end: bool) -> None:
    """Fork the sandboxee, and become its init. Never returns normally."""
    signals.set_disposition(signals.SIGCHLD, signals.SIG_DFL)  # the template ignores it, which would hide exit statuses
    signals.set_signal_mask(signals.ALL_SIGNALS)
    with Step("pipe"):
        gate, gate_of_init = os.pipe()
    with Step("clone", "sandboxee"):
        pid, pidfd = process.clone(0)
    if pid == 0:
        os.close(gate_of_init)
        # Born dumpable, so that it can be seized: it holds no capability and nothing of another run.
        launch.run(channel, gate, spare=spare, proc=proc)
    guard(channel, gate_of_init, pid, pidfd, reports_end=reports_end)


def guard(channel: Channel, gate_of_init: int, pid: int, pidfd: int, *, reports_end: bool = False) -> None:
    """Protect ourselves, tell the executor of the box, let the sandboxee `pid` go on, and stay as its init.

    `pidfd` is a descriptor of the sandboxee, `gate_of_init` the pipe whose end it waits for. With `reports_end` the
    executor will be told how it ended, over a pipe that the sandboxee never had. Never returns normally.
    """
    identity.set_dumpable(identity.NOT_DUMPABLE)
    with Step("pidfd_open", "init"):
        own_pidfd = process.pidfd_open(INIT)
    reader = writer = -1
    if reports_end:
        with Step("pipe"):
            reader, writer = os.pipe()
    channel.send(encode(Reply(started=Started())), [own_pidfd, pidfd, *([reader] if reports_end else [])])
    with Step("filter_of_init"):
        process.close_all_but([channel.fileno(), gate_of_init, *([writer] if reports_end else [])])
        process.set_no_new_privs()
        install_filter(init_filter(report=writer))
    channel.close()
    os.close(gate_of_init)  # opens the gate
    _reap_and_forward(pid, writer)


def _reap_and_forward(sandboxee: int, report: int) -> None:
    """Reap everything that ends here; hand signals from outside on to the sandboxee; leave when it is gone.

    `report` is the pipe on which its end is reported, -1 for none.
    """
    while True:
        signo, from_outside = signals.wait_for_signal(signals.ALL_SIGNALS)
        if signo == signals.SIGCHLD:
            if _reap(sandboxee, report):
                os._exit(0)
        elif from_outside:  # the programs inside cannot make init act
            try:
                os.kill(sandboxee, signo)
            except ProcessLookupError:
                continue


def _reap(sandboxee: int, report: int) -> bool:
    """Reap all that have ended; whether the sandboxee was among them."""
    while True:
        try:
            pid, status, usage = process.reap_one()
        except ChildProcessError:
            return True
        if pid == sandboxee:
            if report >= 0:
                _report_end(report, status, usage)
            return True
        if pid == 0:
            return False


def _report_end(report: int, status: int, usage: bytes) -> None:
    """Tell the executor how the sandboxee ended; `usage` is struct rusage. Never waits: the pipe is empty."""
    try:
        os.write(report, encode(Ended(status=status, usage=usage)))
    except BrokenPipeError:
        return
