"""Set-up steps: each failure becomes (step, errno, path), never a silent exit."""

from __future__ import annotations

import os

from stockade._proto.lean import Reply, SetupFailure
from stockade._proto.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from stockade.comms.channel import Channel


class StepError(Exception):
    """A step of the set-up failed."""

    def __init__(self, step: str, errno: int, path: str = "", detail: str = "") -> None:
        super().__init__(step, errno, path, detail)
        self.step, self.errno, self.path, self.detail = step, errno, path, detail


class Step:
    """Context of one step: an `OSError` inside becomes a `StepError` with the step's name and object."""

    __slots__ = ("name", "path")

    def __init__(self, name: str, path: str = "") -> None:
        self.name, self.path = name, path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            path = self.path or (os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else "")
            raise StepError(self.name, error.errno or 0, path, error.strerror or str(error)) from error


def report(channel: Channel, error: BaseException, default_step: str) -> None:
    """Tell the executor why the set-up ends. A connection that is gone means that nobody wants to know."""
    if isinstance(error, StepError):
        failure = SetupFailure(step=error.step, errno=error.errno, path=_text(error.path), detail=_text(error.detail))
    else:
        errno = error.errno or 0 if isinstance(error, OSError) else 0
        failure = SetupFailure(step=default_step, errno=errno, detail=_text(f"{type(error).__name__}: {error}"))
    try:
        channel.send(encode(Reply(failure=failure)))
    except OSError:
        return


def _text(text: str) -> str:
    """Text that fits a protobuf string: names that are no UTF-8 keep their bytes as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
