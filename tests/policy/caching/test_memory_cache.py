"""Policies that say the same about system calls are compiled once in a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stockade import PolicyBuilder
from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel import architectures
from stockade.policy.caching import compiled
from stockade.policy.caching import memory as memory_cache
from stockade.policy.caching.memory import MemoryCache
from stockade.policy.policy import Policy

EXECUTOR = str(Path(architectures.__file__).parents[2])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modes of what is really compiled, in an empty cache."""
    compiled.PROGRAMS.clear()
    modes: list[str] = []
    really = compiled._make

    def counted(resolved: object) -> compiled.Compiled:
        modes.append(resolved.mode)  # type: ignore[attr-defined]
        return really(resolved)  # type: ignore[arg-type]

    monkeypatch.setattr(compiled, "_make", counted)
    return modes


def builder() -> PolicyBuilder:
    return PolicyBuilder("one").allow_read().allow_syscall("getppid")


def test_equal_policies_are_compiled_once(made: list[str]) -> None:
    first, second = builder().build(), builder().build()
    assert first.compile() is second.compile() is first.compile()
    assert made == ["enforce"]


def test_policies_that_differ_only_outside_of_the_calls_are_compiled_once(made: list[str]) -> None:
    message = builder().build().message
    message.name, message.description = "another", "Something else."
    message.filesystem.mounts.add(target="/tmp").tmpfs.SetInParent()
    message.network.mode = policy_pb2.Network.LOOPBACK
    message.limits.wall_time = "5s"
    message.tested_with.add(path="/usr/bin/gzip")
    other = Policy.from_message(message)
    assert other != builder().build()
    assert other.compile() is builder().build().compile()
    assert made == ["enforce"]


def test_whatever_else_differs_is_compiled_anew(made: list[str]) -> None:
    policy = builder().build()
    policy.compile()
    for mode in ("refuse", "permissive", "record"):
        policy.compile(mode=mode)
    policy.compile("aarch64")
    assert made == ["enforce", "refuse", "permissive", "record", "enforce"]
    options = policy.message
    options.options.unknown_syscalls_enosys = True
    reason = policy.message
    reason.syscalls.rules[0].errno = "EPERM"
    reason.syscalls.rules[0].action = policy_pb2.Rule.ERRNO
    programs = {Policy.from_message(message).compile() for message in (options, reason)}
    assert len(programs | {policy.compile()}) == 3
    assert len(made) == 7


def test_a_policy_that_may_not_be_used_has_no_program_even_if_its_equal_has(made: list[str]) -> None:
    builder().build().compile()
    with pytest.raises(PolicyError, match="unknown mode"):
        builder().build().compile(mode="enforced")
    with pytest.raises(PolicyError, match="unknown architecture"):
        builder().build().compile("riscv64")


def test_threads_that_ask_together_compile_once(made: list[str]) -> None:
    policies = [builder().build() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        programs = list(pool.map(Policy.compile, policies))
    assert len(set(map(id, programs))) == 1
    assert made == ["enforce"]


def test_who_comes_while_a_value_is_made_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cache: MemoryCache[str, int] = MemoryCache(4)
    begun, second = threading.Event(), threading.Event()

    class Watched:
        """A lock that tells when somebody wants it who has to wait."""

        def __init__(self) -> None:
            self._lock = allocate()

        def __enter__(self) -> None:
            if not self._lock.acquire(blocking=False):
                second.set()
                self._lock.acquire()

        def __exit__(self, *_exception: object) -> None:
            self._lock.release()

    def slow() -> int:
        begun.set()
        assert second.wait(60)
        return 1

    def again() -> int:
        second.set()
        return 2

    allocate = threading.Lock
    monkeypatch.setattr(threading, "Lock", Watched)
    slot = memory_cache._Slot[int]()
    monkeypatch.undo()
    cache._slots["key"] = slot
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "key", slow)
        assert begun.wait(60)
        assert pool.submit(cache.get, "key", again).result() == first.result() == 1


def test_others_go_on_while_one_is_made() -> None:
    cache: MemoryCache[str, int] = MemoryCache(4)
    begun, end = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert end.wait(60)
        return 1

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.get, "slow", slow)
        assert begun.wait(60)
        assert cache.get("quick", lambda: 2) == 2
        end.set()
        assert waiting.result() == 1


def test_the_least_recently_used_goes() -> None:
    cache: MemoryCache[int, int] = MemoryCache(3)
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return -number

    for number in (1, 2, 3, 1, 4, 1, 2):
        assert cache.get(number, lambda number=number: make(number)) == -number  # type: ignore[misc]
        assert len(cache) <= 3
    assert made == [1, 2, 3, 4, 2]


def test_a_failure_is_not_kept() -> None:
    cache: MemoryCache[str, int] = MemoryCache(3)

    def fails() -> int:
        raise PolicyError("no")

    for _ in range(2):
        with pytest.raises(PolicyError):
            cache.get("key", fails)
    assert cache.get("key", lambda: 5) == 5


def test_a_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    cache: MemoryCache[str, int] = MemoryCache(3)
    begun, end = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert end.wait(60)
        return 1

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.get, "key", slow)
        assert begun.wait(60)
        with cache._lock:
            pid = os.fork()
            if pid == 0:
                signal.alarm(30)
                os._exit(cache.get("key", lambda: 7))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        end.set()
        assert waiting.result() == 1


def test_the_same_policy_gives_the_same_bytes_in_every_process() -> None:
    script = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from stockade import Policy, PolicyBuilder, arg
built = PolicyBuilder("built").allow_dynamic_startup().allow_read().allow_stat().allow_safe_fcntl()
built.allow_syscall("ioctl", arg(1).one_of("TCGETS", "TIOCGWINSZ", "FIONREAD"))
built.block_syscalls_with_errno(["getppid", "getpgid", "getsid"], "ENOENT")
for policy in (Policy.profile("gzip"), built.build()):
    programs = [policy.compile(machine, mode) for machine in ("x86_64", "aarch64") for mode in ("enforce", "record")]
    print(policy.digest.hex(), *(hashlib.sha256(program).hexdigest() for program in programs))
"""
    said = set()
    for seed in ("0", "1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "STOCKADE_CACHE_DIR": ""}
        command = [sys.executable, "-c", script, EXECUTOR]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.add(done.stdout)
    assert len(said) == 1
    assert len(said.pop().split()) == 10
