"""A bounded map from keys to values that are expensive to make, for all threads of a process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Slot(Generic[Value]):
    """The place of one value. Whoever makes it holds the lock, so that nobody else makes it too."""

    __slots__ = ("lock", "value")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: Value | None = None


class MemoryCache(Generic[Key, Value]):
    """Keeps the `limit` values that were used last. Values must not be None and must not change."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._slots: OrderedDict[Key, _Slot[Value]] = OrderedDict()
        # A lock that another thread holds at a fork would be held for ever in the child.
        os.register_at_fork(after_in_child=self._begin_anew)

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Give the value of `key`, made by `make` unless it is there. What `make` raises is raised, and not kept.

        Of several threads that ask at the same time, one makes the value and the others wait for it.
        """
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                slot = self._slots[key] = _Slot()
                if len(self._slots) > self._limit:
                    self._slots.popitem(last=False)
            else:
                self._slots.move_to_end(key)
        with slot.lock:
            if slot.value is None:
                slot.value = make()
            return slot.value

    def __len__(self) -> int:
        return len(self._slots)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._slots.clear()

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._slots = OrderedDict()
