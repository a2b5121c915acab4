"""The score: how many attempts of each class were made, controlled and stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator

import pytest

from support.attacks import Attempt
from support.monitors import default_monitor, run_with_both

__all__ = ["default_monitor"]

# Modules that are run with each monitor.
BOTH = frozenset({"test_abi", "test_arguments", "test_filters"})

CONTROLS = pytest.StashKey[Counter[str]]()
STOPPED = pytest.StashKey[Counter[str]]()
ATTEMPT = pytest.StashKey[Attempt]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "attack(id): an attempt of the list of attacks, by its id there")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of BOTH with each monitor."""
    run_with_both(metafunc, BOTH)


@pytest.fixture
def attack(request: pytest.FixtureRequest) -> Iterator[Attempt]:
    """The attempt that a test makes; a test that passes without having made its positive control fails."""
    marker = request.node.get_closest_marker("attack")
    assert marker is not None, "mark the test with the id of the attack"
    attempt = Attempt(marker.args[0])
    request.node.stash[ATTEMPT] = attempt
    yield attempt


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Count what was controlled and stopped; refuse tests of attacks that prove nothing."""
    result = yield
    if item.get_closest_marker("attack") is not None:
        attempt = item.stash.get(ATTEMPT, None)
        assert attempt is not None and attempt.controlled, "this test of an attack has made no positive control"
        letter = attempt.identifier[0]
        item.config.stash.setdefault(STOPPED, Counter())[letter] += 1
        item.config.stash.setdefault(CONTROLS, Counter())[letter] += attempt.controlled
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print one line for each class."""
    stopped, controls = config.stash.get(STOPPED, Counter()), config.stash.get(CONTROLS, Counter())
    if stopped:
        terminalreporter.section("attacks")
    for letter in sorted(stopped):
        terminalreporter.write_line(f"attacks {letter}: {stopped[letter]} stopped, controls {controls[letter]}")
