"""The client library by itself: what it finds, what it says where there is nothing, and how a box gets it."""

from __future__ import annotations

import subprocess

import pytest

from stockade import Executor, Policy, PolicyBuilder, Status
from support.clients import ENVIRONMENT, client_builder, script
from support.installation import Installation
from support.pythons import SYSTEM
from support.runs import python_environment

MAKE = """
from stockade.client import Client, ClientError, is_sandboxed
try:
    client = Client()
    print(client.is_sandboxed(), client.args)
    {call}
except ClientError as error:
    print(error)
"""


def outside(call: str = "", **variables: str) -> str:
    command = [SYSTEM, "-c", MAKE.format(call=call)]
    environment = python_environment() | variables
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_outside_of_a_sandbox_it_says_so() -> None:
    assert outside().startswith("this process is not in a sandbox of stockade: no executor has started it")
    inside = Executor(client_builder().build()).run(script(MAKE.format(call="")), env=ENVIRONMENT, text=True)
    assert (inside.status, inside.stdout) == (Status.OK, "True []\n"), inside.stderr


NO_ANNOUNCEMENTS = ("", "check-in", "check-in:3", "check-in:1:2:3", "other:1:2", "fork:-1:2", "fork:a:2", "fork:²:1")
NO_CONNECTIONS = ("check-in:9999:0", "fork:0:1")


@pytest.mark.parametrize("value", [*NO_ANNOUNCEMENTS, *NO_CONNECTIONS])
def test_an_announcement_that_no_executor_makes_is_refused(value: str) -> None:
    assert outside(STOCKADE_CLIENT=value).startswith("the variable STOCKADE_CLIENT ")


def test_what_was_not_asked_for_is_an_error_that_says_how_to_ask() -> None:
    executor = Executor(client_builder().build())
    for call, said in {
        "client.comms": "comms=True",
        "client.descriptor('x')": "no descriptor named 'x'; there is none",
        "print(client.has_descriptor('x'))": "False",
        "client.forward_logs()": "forward_logs",
        "client.become_fork_server()": "Executor.start_fork_server()",
        "client.sandbox_me_here()": "sandbox_at='client'",
    }.items():
        result = executor.run(script(MAKE.format(call=call)), env=ENVIRONMENT, text=True)
        assert (result.status, result.returncode) == (Status.OK, 0), result.stderr
        assert said in result.stdout.splitlines()[1]


def test_add_client_shows_the_package_where_asked_for() -> None:
    builder = PolicyBuilder.from_policy(Policy.profile("python3")).add_client("/opt/there")
    result = Executor(builder.build()).run(
        script("import stockade.client; print(stockade.__file__)"), env={"PYTHONPATH": "/opt/there", "HOME": "/"}
    )
    assert result.stdout == b"/opt/there/stockade/__init__.py\n", result.stderr
    again = client_builder().add_client().build()
    assert again.digest == client_builder().build().digest
    missing = Executor(client_builder().build()).run(script("import stockade"))
    assert b"No module named 'stockade'" in missing.stderr


@pytest.mark.slow
def test_an_environment_with_the_wheel_in_it_needs_nothing_else(installation: Installation) -> None:
    message = Policy.profile("python3").message
    kept = [mount for mount in message.filesystem.mounts if mount.target in ("/dev", "/tmp")]
    del message.filesystem.mounts[:]
    message.filesystem.mounts.extend(kept)
    message.filesystem.libraries_for_binary[:] = []
    policy = PolicyBuilder.from_policy(Policy.from_message(message)).add_python(installation.python).build()
    source = "from stockade.client import Client; Client().sandbox_me_here(); print('under'); import os; os.fork()"
    result = Executor(policy, mode="refuse").run([installation.python, "-c", source], sandbox_at="client", text=True)
    assert result.stdout == "under\n", result.stderr
    assert [violation.syscall for violation in result.violations] == ["clone"]


def test_the_library_loads_nothing_but_what_it_needs() -> None:
    source = "import sys; before = set(sys.modules); import stockade.client; print(*sorted(set(sys.modules) - before))"
    result = Executor(client_builder().build()).run([SYSTEM, "-S", "-c", source], env=ENVIRONMENT, text=True)
    loaded = result.stdout.split()
    assert "stockade.client.client" in loaded
    assert not {"typing", "dataclasses", "enum", "re", "socket", "logging", "google"} & set(loaded)
