"""The committed generated code is what the schema gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "executor" / "stockade" / "_proto"
WRITTEN_BY_HAND = {"__init__.py", "wire.py"}


def test_the_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools" / "generate_proto.py", "--out", tmp_path], check=True)
    fresh = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in COMMITTED.iterdir() if path.is_file()}
    assert set(fresh) == set(committed) - WRITTEN_BY_HAND
    stale = [name for name, content in fresh.items() if committed[name] != content]
    assert not stale, "run `make proto`"


def test_every_field_of_the_schema_has_a_comment() -> None:
    for path in sorted((ROOT / "proto").rglob("*.proto")):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            declaration = line.strip()
            if declaration.endswith((";", "{", "{}")) and not declaration.startswith(
                ("syntax", "package", "import", "//")
            ):
                assert lines[number - 1].strip().startswith("//"), (
                    f"{path.name}:{number + 1}: no comment: {declaration}"
                )
