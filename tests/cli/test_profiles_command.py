"""`stockade profiles`: every ready-made policy, where it belongs, with what it allows."""

from __future__ import annotations

import json
import re

from stockade import Policy
from stockade.cli.profiles import KINDS
from stockade.policy import profiles
from support.command_line import CommandLine


def test_all_are_listed_beneath_their_kind(stockade: CommandLine) -> None:
    done = stockade("profiles", env={"COLUMNS": "300"})
    assert (done.returncode, done.stderr) == (0, "")
    blocks = {}
    for block in done.stdout.split("\n\n"):
        head, *lines = block.splitlines()
        blocks[head.removesuffix(":")] = dict(re.split("  +", line.strip(), maxsplit=1) for line in lines)
    assert [name for rows in blocks.values() for name in rows] == [
        *(name for _, names in KINDS for name in names),
        *(name for name in profiles.names() if all(name not in names for _, names in KINDS)),
    ]
    assert [list(blocks[kind]) for kind, _ in KINDS] == [list(names) for _, names in KINDS]
    for rows in blocks.values():
        for name, meaning in rows.items():
            assert meaning == Policy.profile(name).message.description and meaning


def test_one_in_detail(stockade: CommandLine) -> None:
    done = stockade("profiles", "gzip", env={"COLUMNS": "300"})
    assert (done.returncode, done.stderr) == (0, "")
    path = profiles.find("gzip")
    assert f"\nfile: {path}\n" in done.stdout
    [tested] = Policy.profile("gzip").message.tested_with
    assert f"\ntested with: {tested.path}, {tested.version}, on {tested.platform}\n" in done.stdout
    first = path.read_text().splitlines()[0].removeprefix("# ")
    assert done.stdout.startswith(first)


def test_json(stockade: CommandLine) -> None:
    data = {each["name"]: each for each in json.loads(stockade("profiles", "--json").stdout)}
    assert tuple(data) == profiles.names()
    assert data["gzip"]["path"] == str(profiles.find("gzip"))
    assert data["gzip"]["kind"] == "programs" and data["minimal"]["kind"] == "base profiles"
    [one] = json.loads(stockade("profiles", "--json", "jq").stdout)
    assert one == data["jq"]


def test_several_in_the_order_in_which_they_are_named(stockade: CommandLine) -> None:
    done = stockade("profiles", "jq", "gzip", "jq")
    assert done.stdout.index("jq: ") < done.stdout.index("gzip: ")
    assert done.stdout.count("file:") == 2
