"""The executor's side of the forkserver: started on demand, one for each user process, shared by all its executors."""

from __future__ import annotations

import atexit
import fcntl
import os
import subprocess
import sys
import threading

from stockade.comms.channel import Channel
from stockade.errors import SetupError

# Seconds that its leaving may take before it is left to itself.
LONGEST_LEAVE = 2.0

_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from stockade.sandboxee.forkserver import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)
_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class ForkserverClient:
    """A running forkserver and the connection to it."""

    def __init__(self) -> None:
        if not sys.executable:
            hint = "set sys.executable to a Python interpreter before the first run"
            raise SetupError(
                "forkserver", 2, "sys.executable", hint, detail="this process does not know its interpreter"
            )
        ours, its = Channel.pair()
        # Never 0, 1 or 2, which a caller with closed streams may be given, and which the new process gets anew.
        its_end = fcntl.fcntl(its.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
        pidfd = os.pidfd_open(os.getpid())
        owner = fcntl.fcntl(pidfd, fcntl.F_DUPFD_CLOEXEC, 3)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, _PACKAGE_PARENT, str(its_end), str(owner)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if os.environ.get("STOCKADE_DEBUG_FORKSERVER") else subprocess.DEVNULL,
                pass_fds=(its_end, owner),
                start_new_session=True,
                cwd="/",
                env=_environment(),
            )
        except OSError as error:
            ours.close()
            raise SetupError("forkserver", error.errno or 0, sys.executable) from error
        finally:
            its.close()
            for descriptor in (its_end, pidfd, owner):
                os.close(descriptor)
        self._channel = ours
        self._identity = caller()

    def send(self, payload: bytes, reply: int, *descriptors: int) -> None:
        """Send one ForkRequest with the reply socket and more descriptors. BrokenPipeError when it is gone."""
        self._channel.send(payload, [reply, *descriptors])

    @property
    def pid(self) -> int:
        """Pid of the forkserver."""
        return self._process.pid

    def is_usable(self) -> bool:
        """Whether it still runs, and was started by the user that this process is now."""
        return self._identity == caller() and self._process.poll() is None

    def close(self) -> None:
        """Let it leave, and reap it: now, or by a thread when that takes longer.

        It stays as long as a task of a run does, and one that is stopped stays until the thread that follows it takes
        note, or ends: when that thread is stuck (a hook that never returns), they all end with this process.
        """
        self._channel.close()
        try:
            self._process.wait(LONGEST_LEAVE)
        except subprocess.TimeoutExpired:
            try:
                threading.Thread(target=self._process.wait, name="stockade-reaper", daemon=True).start()
            except RuntimeError:  # the interpreter ends, and no thread can begin any more
                self._process.returncode = 0

    def forget(self) -> None:
        """In a forked copy of the user's process: close the connection; the process belongs to the parent."""
        self._channel.close()
        self._process.returncode = 0


def _environment() -> dict[str, str]:
    """What the interpreter may need to start, and nothing else: helpers hold no secrets."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}


def caller() -> tuple[object, ...]:
    """Who this process is at this moment: pid, user ids, groups. A helper serves only whom it was started by."""
    return os.getpid(), os.getresuid(), os.getresgid(), tuple(os.getgroups())


_lock = threading.Lock()
_current: ForkserverClient | None = None


def request_fork(payload: bytes, reply: int, *descriptors: int, may_start: bool = True) -> None:
    """Send a ForkRequest to this process's forkserver, starting one where there is none. Raises SetupError.

    `reply` and the `descriptors` go with it.

    Not `may_start`: a SetupError instead, and no other change.
    """
    global _current
    dismissed = []
    try:
        with _lock:
            for _attempt in (1, 2):
                if _current is None or not _current.is_usable():
                    if not may_start:
                        raise SetupError("forkserver", detail="none is running")
                    if _current is not None:
                        dismissed.append(_current)
                    _current = ForkserverClient()
                try:
                    _current.send(payload, reply, *descriptors)
                    return
                except BrokenPipeError:
                    if not may_start:
                        raise SetupError("forkserver", detail="it has died") from None
                    dismissed.append(_current)
                    _current = None
            raise SetupError("forkserver", detail="the forkserver died twice")
    finally:
        for client in dismissed:
            client.close()  # not with the lock: it waits for runs, whose followers may want it


def current_pid() -> int | None:
    """Pid of this process's forkserver, or None when none runs."""
    return _current.pid if _current is not None else None


def serving_pid() -> int | None:
    """Pid of this process's forkserver if it lives and could serve the next request, else None."""
    with _lock:
        return _current.pid if _current is not None and _current.is_usable() else None


def stop() -> None:
    """Stop this process's forkserver and with it its templates; runs that still go on are killed. Used at exit."""
    global _current
    with _lock:
        leaving, _current = _current, None
    if leaving is not None:
        leaving.close()  # not with the lock, see above


def _after_fork_in_child() -> None:
    global _current, _lock
    _lock = threading.Lock()
    if _current is not None:
        _current.forget()
        _current = None


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(stop)
