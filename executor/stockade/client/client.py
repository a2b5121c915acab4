"""The sandboxed program's own side, in one object."""

from __future__ import annotations

import os
from _thread import allocate_lock

from stockade.client import connection, named
from stockade.client.check_in import check_in
from stockade.client.copies import serve
from stockade.client.detect import is_sandboxed
from stockade.client.errors import ClientError
from stockade.sandboxee.client_variable import CHECK_IN, FORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

    from stockade.comms.values import Comms

_lock = allocate_lock()
_arguments: list[str] = []


class Client:
    """What a program that knows of its sandbox can ask for. All objects of one process are alike.

    Raises ClientError where nothing says that an executor has started this process: neither its environment nor a
    filter.
    """

    def __init__(self) -> None:
        announced = connection.announced() is not None or bool(named.descriptors())
        if not announced and not is_sandboxed():
            raise ClientError(
                "this process is not in a sandbox of stockade: no executor has started it, or it was started by "
                "something that took the environment away"
            )

    @property
    def args(self) -> list[str]:
        """In a copy of a fork server: the arguments that the executor gave it. Elsewhere: empty, use sys.argv."""
        return list(_arguments)

    def is_sandboxed(self) -> bool:
        """Whether a filter of stockade holds for the calling thread; see `stockade.client.is_sandboxed`."""
        return is_sandboxed()

    def sandbox_me_here(self) -> None:
        """Put this process, with all its threads, under its policy. Returns once the executor has verified that.

        For a program that was started with `sandbox_at="client"`, once; ClientError otherwise. When the filter cannot
        be installed on every thread, or the executor finds something amiss (a process that was started before is not
        under the policy), the run ends here with a SetupError: nothing goes on half sandboxed.
        """
        with _lock:
            check_in(connection.take(CHECK_IN))

    def become_fork_server(self) -> None:
        """Wait for requests, and fork a sandboxed copy of this process for each. Returns in each copy, sandboxed.

        For a program that was started with `Executor.start_fork_server()`, once; ClientError otherwise. Only the
        calling thread lives on in a copy. A copy has `args`, standard streams, environment, working directory, limits
        and named descriptors of its own; whatever else this process has open is dead in it. SystemExit here when the
        executor has closed the fork server.
        """
        with _lock:
            launched = serve(connection.take(FORK))
            _arguments[:] = [os.fsdecode(argument) for argument in launched.argv[1:]]
            named.forget()

    @property
    def comms(self) -> Comms:
        """The connection for typed values to the executor, the same at each call. ClientError when not asked for."""
        return named.comms()

    def descriptor(self, name: str) -> int:
        """The number of a descriptor that the executor has given by that name. ClientError when there is none."""
        return named.descriptor(name)

    def has_descriptor(self, name: str) -> bool:
        """Whether the executor has given a descriptor by that name."""
        return named.has_descriptor(name)

    def forward_logs(self, logger: logging.Logger | None = None, level: int = 0) -> logging.Handler:
        """Send what `logger` (the root logger by default) logs from `level` on to the executor; the handler for it."""
        from stockade.client.logs import forward_logs

        return forward_logs(logger, level)
