"""Fixtures and session-wide checks: expected skips, leftovers, hypothesis profiles."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from support import leftovers, skips
from support.compiler import CCompiler
from support.installation import Distributions, Installation, build_distributions, install

ROOT = Path(__file__).resolve().parent.parent
EXPECTED_SKIPS = ROOT / "tests" / "expected_skips.txt"
SESSION_MARK = uuid.uuid4().hex
BEFORE = pytest.StashKey[leftovers.Snapshot]()
SKIPPED = pytest.StashKey[list[tuple[str, str]]]()

# No deadlines and no check of speed: a timing never decides a test.
_PROFILE = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow], "print_blob": True}
hypothesis.settings.register_profile("stockade", max_examples=100, **_PROFILE)  # type: ignore[arg-type]
hypothesis.settings.register_profile("stockade-ci", max_examples=40, **_PROFILE)  # type: ignore[arg-type]
hypothesis.settings.load_profile("stockade-ci" if os.environ.get("CI") else "stockade")


def user_kind() -> str:
    """Return "root" or "unprivileged", as tests/expected_skips.txt spells it."""
    return "root" if os.geteuid() == 0 else "unprivileged"


# --- the session ---


def pytest_configure(config: pytest.Config) -> None:
    """Remember what exists before the first test, and mark what this session starts."""
    os.environ[leftovers.MARK] = SESSION_MARK
    # Tests change code and tables; nothing of that belongs in the cache of the user who runs them.
    os.environ["STOCKADE_CACHE_DIR"] = ""
    config.stash[SKIPPED] = []
    config.stash[BEFORE] = leftovers.snapshot()


def pytest_report_header() -> list[str]:
    """Say for whom this session runs."""
    groups = ",".join(str(group) for group in os.getgroups()) or "none"
    return [f"user: {user_kind()} (uid {os.geteuid()}, supplementary groups {groups}), kernel {os.uname().release}"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the user of this session cannot test."""
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        pytest.skip("needs root")
    if item.get_closest_marker("needs_unprivileged") and os.geteuid() == 0:
        pytest.skip("needs an unprivileged user")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Collect the skips."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        item.config.stash[SKIPPED].append((item.nodeid, _skip_reason(report.longrepr)))
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Refuse skips of whole modules: they hide how many tests are skipped."""
    if report.skipped:
        raise pytest.UsageError(f"{report.nodeid}: skip tests, not modules: {_skip_reason(report.longrepr)}")


def _skip_reason(longrepr: object) -> str:
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ")


def _stop_forkserver() -> None:
    """End the forkserver of this process, which otherwise lives until the process ends."""
    forkserver = sys.modules.get("stockade.host.forkserver")
    if forkserver is not None:
        forkserver.stop()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn unexpected skips and leftovers into errors of the session."""
    if os.environ.get(leftovers.MARK) != SESSION_MARK or session.config.option.collectonly:
        return
    listed = skips.read_expected_skips(EXPECTED_SKIPS)
    for line in skips.unexpected(listed, session.config.stash[SKIPPED], user_kind()):
        _add_error(session, "unexpected skip", f"this skip is not listed in tests/expected_skips.txt:\n{line}")
    _stop_forkserver()
    gc.collect()
    left = leftovers.settle(session.config.stash[BEFORE], SESSION_MARK)
    if left:
        _add_error(session, "leftovers", "\n".join(left))


def _add_error(session: pytest.Session, name: str, text: str) -> None:
    """Let the session end with one more error, listed and counted like any other."""
    location = ("tests/conftest.py", None, name)
    report = pytest.TestReport(f"tests/conftest.py::{name}", location, {}, "failed", text, "teardown")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None, "the checks at the end of the session need pytest's terminal reporter"
    reporter.stats.setdefault("error", []).append(report)
    session.exitstatus = pytest.ExitCode.TESTS_FAILED


# --- fixtures ---


@pytest.fixture(scope="session")
def privileged() -> bool:
    """Say whether the tests run as root."""
    return os.geteuid() == 0


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    """A directory for the whole session that any user may enter (pytest's own are for one user only)."""
    directory = Path(tempfile.mkdtemp(prefix="sandbox-tests-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def public_tmp(session_directory: Path) -> Path:
    """An empty directory for one test that any user may enter, outside of pytest's private ones."""
    directory = Path(tempfile.mkdtemp(dir=session_directory))
    directory.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def compile_c(session_directory: Path) -> CCompiler:
    """Compile a C source: `compile_c(source, static=True, name="program", options=())` returns the program's path."""
    directory = session_directory / "programs"
    directory.mkdir()
    directory.chmod(0o755)
    return CCompiler(directory)


@pytest.fixture(scope="session")
def distributions(session_directory: Path) -> Distributions:
    """The wheel and the sdist, built once from the checkout."""
    return build_distributions(ROOT, session_directory / "dist")


@pytest.fixture(scope="session")
def installation(distributions: Distributions, session_directory: Path) -> Installation:
    """A virtual environment with the wheel in it."""
    return install(distributions.wheel, session_directory / "installation")
