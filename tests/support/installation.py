"""Building the distributions and installing them, without the network, into virtual environments of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

SITE_PACKAGES = Path(sysconfig.get_path("purelib"))


@dataclass(frozen=True, slots=True)
class Distributions:
    """The files that a release consists of."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True, slots=True)
class Installation:
    """A virtual environment in which the package is installed."""

    directory: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    @property
    def environment(self) -> dict[str, str]:
        """An environment in which its programs come first and nothing leads back to the checkout."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return {**kept, "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}"}

    def run(self, *arguments: str | Path, cwd: Path, program: str = "python") -> subprocess.CompletedProcess[str]:
        """Run one of its programs in the directory `cwd` and return what it printed; a failure is an assertion."""
        command = [str(self.directory / "bin" / program), *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command} returned {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


def run_checked(command: list[str | Path], **options: object) -> None:
    """Run a command whose failure is an assertion that shows its output."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command} returned {done.returncode}\n{done.stdout}\n{done.stderr}"


def build_distributions(source: Path, out: Path) -> Distributions:
    """Build the sdist of the tree `source`, and the wheel from that sdist, into `out`, without the network."""
    run_checked([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source])
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Distributions(wheel, sdist)


def install(what: Path, directory: Path, *, editable: bool = False) -> Installation:
    """Make a virtual environment in `directory` and install a wheel, an sdist or a source tree into it.

    Nothing is downloaded: the dependencies are those of the environment that runs the tests, seen through a .pth file,
    which does not process that environment's own .pth files, so that an editable install there stays invisible.
    """
    venv.EnvBuilder(with_pip=False, symlinks=True).create(directory)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (directory / "lib" / version / "site-packages" / "dependencies.pth").write_text(f"{SITE_PACKAGES}\n")
    python = directory / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    target = ["--editable", what] if editable else [what]
    run_checked([sys.executable, "-m", "pip", "--python", python, "install", *options, *target])
    return Installation(directory)
