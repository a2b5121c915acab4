"""gzip under policies/gzip.textproto: the same output as without a sandbox."""

from __future__ import annotations

import random
import subprocess
import zlib
from pathlib import Path

import pytest

from support.programs import Runner, outside, through_api

TEXT = b"".join(b"line %d of a text that compresses well\n" % number for number in range(20_000))
NOISE = random.Random(1).randbytes(300_000)
PACKED = subprocess.run(["/usr/bin/gzip", "-n", "-c"], input=TEXT, capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    ("options", "data"),
    [
        (["-c"], TEXT),
        (["-9"], TEXT),
        (["-1", "-c"], NOISE),
        (["-c"], b""),
        (["-d"], PACKED),
        (["-dc"], PACKED),
        (["-t"], PACKED),
        (["-l"], PACKED),
        (["-d"], PACKED[:-5]),
        (["-d"], b"this was never compressed"),
        (["--version"], b""),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else f"{len(value)}",
)
def test_standard_input_to_standard_output(run: Runner, options: list[str], data: bytes) -> None:
    assert run("gzip", ["gzip", *options], input=data) == outside(["gzip", *options], input=data)


@pytest.fixture
def directory(public_tmp: Path) -> Path:
    """Some files to work on."""
    (public_tmp / "text").write_bytes(TEXT)
    (public_tmp / "packed.gz").write_bytes(PACKED)
    (public_tmp / "sub").mkdir()
    (public_tmp / "sub" / "noise").write_bytes(NOISE)
    return public_tmp


@pytest.mark.parametrize(
    "options",
    [
        ["-c", "-9", "text"],
        ["-dc", "packed.gz"],
        ["-l", "packed.gz"],
        ["-lv", "packed.gz"],
        ["-t", "packed.gz"],
        ["-v", "-c", "text"],
        ["-c", "missing"],
    ],
    ids=" ".join,
)
def test_files_to_standard_output(run: Runner, directory: Path, options: list[str]) -> None:
    found = run("gzip", ["gzip", *options], directory=directory)
    assert found == outside(["gzip", *options], directory=directory)


@pytest.mark.parametrize("options", [[], ["-9", "--synchronous"]], ids=["plain", "synchronous"])
def test_compression_in_place_and_back(run: Runner, directory: Path, options: list[str]) -> None:
    before = (directory / "text").stat()
    assert run("gzip", ["gzip", *options, "-r", "text", "sub"], directory=directory).status == 0
    assert not (directory / "text").exists()
    assert zlib.decompress((directory / "text.gz").read_bytes(), wbits=31) == TEXT
    assert zlib.decompress((directory / "sub" / "noise.gz").read_bytes(), wbits=31) == NOISE
    assert run("gzip", ["gzip", "-d", "text.gz"], directory=directory).status == 0
    after = (directory / "text").stat()
    assert (directory / "text").read_bytes() == TEXT
    assert (after.st_mode, after.st_uid, after.st_gid, int(after.st_mtime)) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
        int(before.st_mtime),
    )


@pytest.mark.slow
def test_forty_megabytes() -> None:
    data = TEXT * 40
    packed = through_api("gzip", ["gzip", "-c"], input=data)
    assert (packed.status, packed.stderr) == (0, b"")
    assert through_api("gzip", ["gzip", "-dc"], input=packed.stdout).stdout == data
