"""jq under policies/jq.textproto: the same output as without a sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.programs import Runner, outside

DOCUMENT = {"list": [1, 2.5, {"deep": None}], "text": "täxt", "time": 1_700_000_000, "names": ["b", "a", "c"]}
TEXT = json.dumps(DOCUMENT).encode()


@pytest.mark.parametrize(
    "arguments",
    [
        ["."],
        ["-c", ".list[]"],
        ["-r", ".text"],
        ["-s", "map(.time)"],
        ["--arg", "key", "text", ".[$key]"],
        ["--argjson", "n", "3", ".time + $n"],
        ["-S", "--tab", "."],
        ["-C", "."],
        ["--stream", "-c", "."],
        ["-e", ".missing"],
        ['.names | sort | join(",")'],
        ['.time | strftime("%Y-%m-%d")'],
        [".time | localtime | mktime"],
        ['.text | test("^t.xt$")'],
        ["[range(100000)] | add"],
        ["-n", "env"],
        ["-n", "1 | debug"],
        ["-n", '"gone" | halt_error(3)'],
        ["this is no filter("],
    ],
    ids=" ".join,
)
def test_standard_input(run: Runner, arguments: list[str]) -> None:
    assert run("jq", ["jq", *arguments], input=TEXT) == outside(["jq", *arguments], input=TEXT)


def test_input_that_is_no_json(run: Runner) -> None:
    data = TEXT[:-3]
    assert run("jq", ["jq", "."], input=data) == outside(["jq", "."], input=data)


@pytest.mark.parametrize(
    "arguments",
    [
        [".text", "one.json", "two.json"],
        ["-s", "length", "one.json", "two.json"],
        ["-n", "--slurpfile", "f", "one.json", "$f[0].time"],
        ["-n", "--rawfile", "f", "two.json", "$f"],
        ["-f", "filter.jq", "one.json"],
        ["-n", "[inputs, input_filename]", "one.json", "two.json"],
        [".", "missing.json"],
    ],
    ids=" ".join,
)
def test_files(run: Runner, public_tmp: Path, arguments: list[str]) -> None:
    (public_tmp / "one.json").write_bytes(TEXT)
    (public_tmp / "two.json").write_text('{"text": 2}')
    (public_tmp / "filter.jq").write_text(".names | length")
    found = run("jq", ["jq", *arguments], directory=public_tmp)
    assert found == outside(["jq", *arguments], directory=public_tmp)


def test_megabytes_in_and_out(run: Runner) -> None:
    data = json.dumps([DOCUMENT] * 20_000).encode()
    assert run("jq", ["jq", "."], input=data) == outside(["jq", "."], input=data)
