"""The opener of a run: a process that opens files as the program of the box would, for hooks that decide about paths.

The forkserver forks it when the first such hook of a run asks. It enters the box's mount and user namespaces and root,
takes the program's ids, gives up every capability, and then opens what it is told to: the kernel resolves each path
with the root, the mounts and the rights that the program has. It is in no pid namespace of a box, so that no program
sees it, and the box's proc has no "self" for it: a path never leads to a process of ours. It leaves when its
connection is closed.
"""

from __future__ import annotations

import fcntl
import os
import stat

from stockade._proto.lean import OpenedFile, Opener, OpenFile, Reply, Started
from stockade._proto.wire import decode, encode
from stockade.comms.channel import Channel
from stockade.kernel import files, process
from stockade.sandboxee import identity
from stockade.sandboxee.steps import Step, StepError, report

ENXIO = 6
NO_DIRECTORY = -1
# Mount namespace, user namespace, root directory.
DESCRIPTORS = 3
# Character devices (major, minor) whose opening neither waits nor does anything: null, zero, full, random, urandom.
HARMLESS_DEVICES = frozenset({(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)})


def start(wanted: Opener, channel: Channel, descriptors: list[int]) -> int:
    """Fork an opener off the forkserver; its pidfd.

    `channel` is its connection; `descriptors` are the box's mount namespace, user namespace and root.
    """
    if len(descriptors) != DESCRIPTORS:
        raise StepError("request", 22, "", f"{len(descriptors)} descriptors came for an opener, not {DESCRIPTORS}")
    forkserver = os.getpid()
    with Step("clone", "opener"):
        pid, pidfd = process.clone(0)
    if pid == 0:
        _run(wanted, channel, descriptors, forkserver)
    return pidfd


def _run(wanted: Opener, channel: Channel, descriptors: list[int], forkserver: int) -> None:
    """Be an opener. Never returns."""
    try:
        process.close_all_but([0, 1, 2, channel.fileno(), *descriptors])
        process.set_name(b"stockade-open")
        _enter_box(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        identity.become(wanted.uid, wanted.gid)
        identity.drop_capabilities()
        identity.set_dumpable(identity.NOT_DUMPABLE)
        process.set_no_new_privs()
        process.prctl(process.PR_SET_PDEATHSIG, process.SIGKILL)
        if os.getppid() != forkserver:
            raise StepError("parent", 0, "", "the forkserver is gone")
        own_pidfd = process.pidfd_open(os.getpid())
        channel.send(encode(Reply(started=Started())), [own_pidfd])
        os.close(own_pidfd)
        while True:
            _answer(channel)
    except (EOFError, BrokenPipeError):
        os._exit(0)
    except BaseException as error:
        report(channel, error, "opener")
    finally:
        os._exit(1)


def _enter_box(mounts: int, user: int, root: int) -> None:
    """Enter the namespaces and the root of a box.

    Its mount namespace is owned by the template's user namespace, which lies between ours and the program's.
    """
    with Step("identity", "groups"):
        if os.geteuid() == 0:
            os.setgroups([])
    with Step("setns", "user namespace of the box's mounts"):
        owner = files.owning_user_namespace(mounts)
        process.setns(owner, process.CLONE_NEWUSER)
        os.close(owner)
    with Step("setns", "mount namespace"):
        process.setns(mounts, process.CLONE_NEWNS)
        os.fchdir(root)
        os.chroot(".")
    with Step("setns", "user namespace"):
        process.setns(user, process.CLONE_NEWUSER)


def _answer(channel: Channel) -> None:
    """Serve one request. Our own descriptor of the file is closed before the executor may go on."""
    payload, descriptors = channel.receive()
    error, opened = 0, []
    try:
        opened.append(_open(decode(OpenFile, payload), descriptors[0] if descriptors else NO_DIRECTORY))
    except OSError as failure:
        error = failure.errno or ENXIO
    channel.send(b"", opened)
    for descriptor in (*opened, *descriptors):
        os.close(descriptor)
    channel.send(encode(OpenedFile(errno=error)))


def _open(request: OpenFile, directory: int) -> int:
    """Open a file without waiting. OSError as the program would get it; ENXIO for what is not opened for programs."""
    flags, resolve = request.flags, request.resolve
    path = None if request.unreadable_path else meant_path(request)
    os.umask(request.umask)
    if flags & os.O_PATH:
        return files.openat2(directory, path, flags | os.O_CLOEXEC, request.mode, resolve)
    exclusive = os.O_CREAT | os.O_EXCL
    if flags & exclusive != exclusive and not _is_opened(directory, path, flags, resolve):
        raise OSError(ENXIO, "only regular files, directories and harmless devices are opened")
    added = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    opened = files.openat2(directory, path, flags | added, request.mode, resolve)
    # Looked at again: it can have been replaced since.
    if not _is_harmless(os.fstat(opened)):
        os.close(opened)
        raise OSError(ENXIO, "only regular files, directories and harmless devices are opened")
    if not flags & os.O_NONBLOCK:
        fcntl.fcntl(opened, fcntl.F_SETFL, fcntl.fcntl(opened, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    return opened


def _is_opened(directory: int, path: bytes | None, flags: int, resolve: int) -> bool:
    """Whether what is at `path` may be opened; also when there is nothing, or it cannot be told: opening it will."""
    look = os.O_PATH | os.O_CLOEXEC | flags & (os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = files.openat2(directory, path, look, 0, resolve)
    except OSError:
        return True
    try:
        return _is_harmless(os.fstat(found))
    finally:
        os.close(found)


def _is_harmless(status: os.stat_result) -> bool:
    """Whether opening it cannot wait, and changes nothing but the file. Symbolic links are left to the kernel."""
    if stat.S_ISCHR(status.st_mode):
        return (os.major(status.st_rdev), os.minor(status.st_rdev)) in HARMLESS_DEVICES
    return not (stat.S_ISBLK(status.st_mode) or stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode))


def meant_path(request: OpenFile) -> bytes:
    """The path, with the caller's own directory in proc for the links "self" and "thread-self", which know only us."""
    path = request.path
    if not path.startswith(b"/") or request.resolve & (files.RESOLVE_NO_SYMLINKS | files.RESOLVE_IN_ROOT):
        return path
    proc, _, rest = path.lstrip(b"/").partition(b"/")
    name, slash, rest = rest.lstrip(b"/").partition(b"/")
    task = {b"self": b"%d" % request.pid, b"thread-self": b"%d/task/%d" % (request.pid, request.tid)}.get(name)
    if proc != b"proc" or task is None or (not slash and request.flags & os.O_NOFOLLOW):
        return path
    try:
        if files.filesystem_type(b"/proc") != files.PROC_SUPER_MAGIC:
            return path
    except OSError:
        return path
    return b"/proc/" + task + slash + rest
