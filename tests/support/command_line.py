"""The command line as a user has it: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.runs import python_environment

Done = subprocess.CompletedProcess[str]
PATH = "/usr/local/bin:/usr/bin:/bin"


class CommandLine:
    """Runs `python -m stockade` in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(
        self,
        *arguments: str | Path,
        input: str = "",
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> Done:
        """Run to the end with `input` on a pipe. `env` adds variables; a None takes one away."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=cwd or self.directory,
            env=self.environment(env),
            input=input,
            capture_output=True,
            text=True,
            check=False,
            pass_fds=pass_fds,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def run(
        self,
        *arguments: str | Path,
        input: str = "",
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> Done:
        """Run `stockade run --quiet …`, as above."""
        return self("run", "--quiet", *arguments, input=input, env=env, cwd=cwd, pass_fds=pass_fds)

    def shell(self, script: str) -> Done:
        """Run a script of the shell in which "$@" is `stockade run --quiet`; standard input is closed."""
        return subprocess.run(
            ["/bin/bash", "-c", f"exec 0<&-; {script}", "bash", *self.command("run", "--quiet")],
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the words of the command line."""
        return [sys.executable, "-m", "stockade", *map(str, arguments)]

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the environment of a plain shell, with changes."""
        plain: dict[str, str | None] = {**python_environment(), "PATH": PATH, "COLUMNS": None, **(changes or {})}
        return {name: value for name, value in plain.items() if value is not None}
