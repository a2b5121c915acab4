"""C programs for the tests."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path


class CCompiler:
    """Compiles C sources with gcc, each source and kind once, into one directory that any user can read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(
        self, source: str, *, static: bool = True, name: str = "program", options: tuple[str, ...] = ()
    ) -> Path:
        """Return the path of the compiled program; its file name is `name`.

        `options` are further options of gcc, for example ("-pthread",). Raises AssertionError with gcc's messages when
        the source does not compile: a test that cannot have its program has failed.
        """
        flags = ("-O1", "-g", "-Wall", "-fno-stack-protector", *(("-static",) if static else ()), *options)
        key = hashlib.blake2b("\0".join((source, *flags)).encode(), digest_size=8).hexdigest()
        program = self.directory / key / name
        if not program.exists():
            program.parent.mkdir(exist_ok=True)
            program.parent.chmod(0o755)
            code = program.with_suffix(".c")
            code.write_text(source)
            done = subprocess.run(["gcc", *flags, "-o", program, code], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"gcc failed:\n{done.stderr}"
            program.chmod(0o755)
        return program
