"""What the policy's own filter says about a notified call, for the monitor that is only told that it was made."""

from __future__ import annotations

from collections.abc import Callable

from stockade.kernel.architectures import native
from stockade.policy.bpf.interpreter import Interpreter

# Numbers may be hostile; those of calls that exist are below this.
MAXIMUM_KEPT_NUMBER = 1 << 12


class Decisions:
    """The policy's compiled program, run on one call after the other.

    What hangs on the number of a call alone is kept. May be shared by runs and threads.
    """

    def __init__(self, program: bytes) -> None:
        self._interpreter = Interpreter(program)
        self._token = native().audit_token
        # None: it hangs on the arguments.
        self._by_number: dict[int, int | None] = {}

    def value(self, number: int, token: int, words: Callable[[], tuple[int, ...]]) -> int:
        """The 32-bit value that the program returns; `words` gives the call as the 16 words that a filter sees."""
        value = None
        if token == self._token:
            try:
                value = self._by_number[number]
            except KeyError:
                value = self._interpreter.run_number(number, token)
                if number < MAXIMUM_KEPT_NUMBER:
                    self._by_number[number] = value
        return value if value is not None else self._interpreter.run_words(words())
