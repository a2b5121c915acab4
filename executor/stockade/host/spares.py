"""Spare boxes: built ahead, each with a sandboxee that waits for its Launch; used once.

A spare fits a run that sends the same request, as long as every source that it binds is still what it was on the host.
It is not kept for long, and there are never many.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Sequence

from stockade.comms.channel import Channel
from stockade.errors import SetupError
from stockade.host import forkserver
from stockade.kernel import mount

MAXIMUM_SPARES = 8
IDLE_SECONDS = 10.0


class _Spare:
    """One box."""

    __slots__ = ("channel", "request", "server", "since", "sources")

    def __init__(self, request: bytes, sources: Sequence[str]) -> None:
        self.request, self.since = request, time.monotonic()
        self.sources = _identities(sources)  # before the box is asked for: what changes meanwhile makes it useless
        self.channel, its = Channel.pair()
        try:
            forkserver.request_fork(request, its.fileno(), may_start=False)
        except BaseException:
            self.channel.close()
            raise
        finally:
            its.close()
        self.server = forkserver.current_pid()  # it dies with it, if only a little later

    def is_usable(self) -> bool:
        """Whether a run of this moment's caller may take it: its forkserver still serves us, and it lives."""
        return self.server == forkserver.serving_pid() and not has_hung_up(self.channel)


def _identities(sources: Sequence[str]) -> list[tuple[int, int, int] | None]:
    return [mount.identity(source) for source in sources]


def has_hung_up(channel: Channel) -> bool:
    """Whether the box at the other end is gone."""
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLHUP)
    return bool(poll.poll(0))


_lock = threading.Lock()
_hurry = threading.Event()  # the keeper alone waits on it
_spares: list[_Spare] = []  # oldest first
_keeper: threading.Thread | None = None


def take(request: bytes, sources: Sequence[str]) -> Channel | None:
    """The connection to a spare box for `request`, which binds the host paths `sources`. None when there is none."""
    with _lock:
        found = next((spare for spare in _spares if spare.request == request), None)
        if found is None:
            return None
        _spares.remove(found)
    if not found.is_usable() or found.sources != _identities(sources):
        found.channel.close()
        return None
    return found.channel


def prepare(request: bytes, sources: Sequence[str]) -> None:
    """Have a box built for the next run with this request, unless one waits already.

    When that fails there is none: the next run asks for its own box, and has somebody to tell.
    """
    global _keeper
    with _lock:
        if any(spare.request == request for spare in _spares):
            return
    try:
        made = _Spare(request, sources)
    except (SetupError, OSError):
        return
    with _lock:
        _spares.append(made)
        while len(_spares) > MAXIMUM_SPARES:
            _spares.pop(0).channel.close()
        if _keeper is None:
            _keeper = threading.Thread(target=_drop_idle, name="stockade-spares", daemon=True)
            _keeper.start()


def drop_all() -> None:
    """Let every box go that waits, with all that it holds here."""
    with _lock:
        while _spares:
            _spares.pop().channel.close()
        keeper = _keeper
    if keeper is not None:
        _hurry.set()
        keeper.join()


def _drop_idle() -> None:
    """Let boxes go that nobody has used for some time; the thread ends with the last of them."""
    global _keeper
    while True:
        with _lock:
            now = time.monotonic()
            while _spares and _spares[0].since + IDLE_SECONDS <= now:
                _spares.pop(0).channel.close()
            if not _spares:
                _keeper = None
                _hurry.clear()
                return
            left = _spares[0].since + IDLE_SECONDS - now
        _hurry.wait(left)


def _after_fork_in_child() -> None:
    """The boxes belong to the parent; threads do not survive a fork."""
    global _lock, _hurry, _keeper
    _lock, _hurry, _keeper = threading.Lock(), threading.Event(), None
    while _spares:
        _spares.pop().channel.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
