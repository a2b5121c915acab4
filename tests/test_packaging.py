"""What a release consists of, and that each way to install it gives a working package."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.installation import Distributions, Installation, install

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "executor" / "stockade"
VERSION = "0.1.0"
IN_SDIST = ("proto", "policies", "tests", "examples", "docs", "benchmarks", "tools")

pytestmark = pytest.mark.slow


def source_files(directory: Path) -> set[str]:
    """Return the files of a source directory, relative to the root of the checkout."""
    found = (path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in found}


def test_the_wheel_holds_the_package_and_nothing_else(distributions: Distributions) -> None:
    names = set(zipfile.ZipFile(distributions.wheel).namelist())
    modules = {name for name in names if not name.startswith(f"stockade-{VERSION}.dist-info/")}
    expected = {name.removeprefix("executor/") for name in source_files(PACKAGE)}
    expected |= {f"stockade/{name}" for name in source_files(ROOT / "policies")}
    assert modules == expected
    assert {"stockade/py.typed", "stockade/policies/gzip.textproto", "stockade/_proto/policy_pb2.pyi"} <= modules
    assert f"stockade-{VERSION}.dist-info/licenses/LICENSE" in names


def test_the_sdist_holds_everything_that_the_tests_need(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as archive:
        names = {member.name.removeprefix(f"stockade-{VERSION}/") for member in archive if member.isfile()}
    for directory in IN_SDIST:
        wanted = source_files(ROOT / directory)
        assert wanted, f"{directory} is empty"
        assert wanted <= names
    assert {"LICENSE", "README.md", "SECURITY.md", "CHANGELOG.md", "Makefile", "pyproject.toml", ".ci/run"} <= names
    assert "executor/stockade/policies/gzip.textproto" in names


@pytest.fixture(params=["wheel", "sdist", "editable"])
def installed(request: pytest.FixtureRequest, distributions: Distributions, public_tmp: Path) -> Installation:
    """The package, installed in each of the ways into an environment of its own."""
    what = {"wheel": distributions.wheel, "sdist": distributions.sdist, "editable": ROOT}[request.param]
    return install(what, public_tmp / "environment", editable=request.param == "editable")


def test_each_installation_runs_the_program_and_the_demo(installed: Installation, public_tmp: Path) -> None:
    empty = public_tmp / "empty"
    empty.mkdir(mode=0o755)
    assert installed.run("-m", "stockade", "--version", cwd=empty).stdout == f"stockade {VERSION}\n"
    assert installed.run("--version", program="stockade", cwd=empty).stdout == f"stockade {VERSION}\n"
    show = "import stockade, importlib.metadata; print(stockade.__file__, importlib.metadata.version('stockade'))"
    file, version = installed.run("-c", show, cwd=empty).stdout.split()
    editable = installed.directory not in Path(file).parents
    assert version == VERSION
    assert not editable or Path(file).parent == PACKAGE
    assert "gzip" in installed.run(ROOT / "examples" / "demo" / "demo.py", cwd=empty).stdout
    assert list(empty.iterdir()) == []


USER = """
from stockade import PolicyBuilder
from stockade._proto import policy_pb2

policy = PolicyBuilder().allow_read().build()
rule: policy_pb2.Rule = policy.message.syscalls.rules.add()
number: int = policy.digest
"""


def test_a_user_of_the_wheel_sees_its_types(installation: Installation, public_tmp: Path) -> None:
    (public_tmp / "user.py").write_text(USER)
    command: list[str | Path] = [Path(sys.executable).with_name("mypy"), "--strict", "--config-file="]
    command += ["--cache-dir=/dev/null", "--python-executable", installation.python, "user.py"]
    done = subprocess.run(
        command, cwd=public_tmp, env=installation.environment, capture_output=True, text=True, check=False
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1, done.stdout + done.stderr
    assert errors[0].startswith("user.py:7: ")  # the digest is no number, and mypy knows
