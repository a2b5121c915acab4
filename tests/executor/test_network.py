"""Which network a box has: none, a loopback of its own, or the host's by its loud name."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from stockade import Executor, PolicyBuilder, PolicyError, Result, Status

SHELL = "/bin/bash"
SCRIPT = "exec 3<>/dev/tcp/127.0.0.1/$0 && read -n 5 -u 3 word && echo $word"


@pytest.fixture
def port() -> Iterator[int]:
    """A server on the host's loopback that says hello."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"hello")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def shell() -> PolicyBuilder:
    return PolicyBuilder().danger_default_allow_all().add_libraries_for_binary(SHELL)


def connect(builder: PolicyBuilder, port: int, runs: int = 1) -> list[Result]:
    executor = Executor(builder.build())
    return [executor.run([SHELL, "-c", SCRIPT, str(port)]) for _ in range(runs)]


def network_layer(result: Result) -> str:
    (layer,) = [layer for layer in result.layers if layer.name == "network namespace"]
    return layer.detail


def test_the_host_s_network_is_reached_by_its_loud_name_only(port: int) -> None:
    # Several runs, so that spare boxes and templates of the other kind are at hand when they must not be used.
    for _ in range(2):
        for result in connect(shell().danger_allow_host_network(), port, runs=3):
            assert (result.status, result.stdout) == (Status.OK, b"hello\n")
            assert "the host's network" in network_layer(result)
        for result in connect(shell(), port, runs=3):
            assert b"Network is unreachable" in result.stderr
            assert network_layer(result).startswith("net:[")
        for result in connect(shell().allow_loopback(), port, runs=3):
            assert b"Connection refused" in result.stderr
            assert network_layer(result).startswith("net:[")


def test_the_calls_have_to_be_allowed_as_well(port: int) -> None:
    builder = PolicyBuilder().allow_dynamic_startup().allow_system_malloc().allow_read().allow_write().allow_exit()
    builder.add_libraries_for_binary(SHELL).default_errno("EPERM").danger_allow_host_network()
    (result,) = connect(builder, port)
    assert b"hello" not in result.stdout


def test_no_other_namespace_is_shared_with_the_network(port: int) -> None:
    (result,) = connect(shell().danger_allow_host_network(), port)
    details = {layer.name: layer.detail for layer in result.layers if layer.name.endswith("namespace")}
    assert sum("host's" in detail for detail in details.values()) == 1
    assert len(details) == 7


def test_two_networks_are_a_contradiction() -> None:
    with pytest.raises(PolicyError, match="chosen already: LOOPBACK"):
        PolicyBuilder().allow_loopback().danger_allow_host_network()
    with pytest.raises(PolicyError, match="chosen already: DANGER_HOST"):
        PolicyBuilder().danger_allow_host_network().allow_loopback()
