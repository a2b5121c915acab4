"""No program gets to write where the filters of later runs are kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stockade import Executor, PolicyBuilder
from stockade.errors import PolicyError
from stockade.kernel import architectures
from stockade.policy.caching import directory as cache_directory

EXECUTOR = str(Path(architectures.__file__).parents[2])


@pytest.fixture
def home(public_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the cache at cache/stockade and another directory beside it."""
    (public_tmp / "cache" / "stockade" / "deeper").mkdir(parents=True)
    (public_tmp / "cache" / "other").mkdir()
    (public_tmp / "cache" / "stockade" / "file").touch()
    monkeypatch.delenv(cache_directory.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(public_tmp / "cache"))
    return public_tmp


def with_mount(path: Path, *, writable: bool = True, target: str = "/data") -> Executor:
    builder = PolicyBuilder().allow_static_startup().allow_exit()
    if path.is_file():
        return Executor(builder.add_file(str(path), inside=target, writable=writable).build())
    return Executor(builder.add_directory(str(path), inside=target, writable=writable).build())


@pytest.mark.parametrize("mounted", ["", "cache"])
def test_a_writable_mount_that_holds_the_cache_is_refused(home: Path, mounted: str) -> None:
    with pytest.raises(PolicyError) as refused:
        with_mount(home / mounted)
    said = str(refused.value)
    assert "filesystem.mounts[0]" in said
    assert f'the writable mount of "{home / mounted}"' in said.replace("'", '"')
    assert "narrower" in said
    assert cache_directory.VARIABLE in said
    assert refused.value.path == str(home / mounted)


@pytest.mark.parametrize("mounted", ["cache/stockade", "cache/stockade/deeper", "cache/stockade/file"])
def test_so_is_the_cache_itself_and_what_lies_in_it(home: Path, mounted: str) -> None:
    with pytest.raises(PolicyError, match=cache_directory.VARIABLE):
        with_mount(home / mounted)


@pytest.mark.parametrize("mounted", ["", "cache", "cache/stockade"])
def test_it_may_be_seen(home: Path, mounted: str) -> None:
    with_mount(home / mounted, writable=False)


@pytest.mark.parametrize("beside", ["cache/other", "cache/stockade-2", "cache/stock"])
def test_directories_beside_it_may_be_written_to(home: Path, beside: str) -> None:
    (home / beside).mkdir(exist_ok=True)
    with_mount(home / beside)


def test_the_cache_need_not_exist(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache" / "other" / "none"))
    with pytest.raises(PolicyError):
        with_mount(home / "cache" / "other")
    with_mount(home / "cache" / "stockade")


@pytest.mark.parametrize("value", ["", "relative"])
def test_nor_be_switched_on(home: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache_directory.VARIABLE, value)
    with pytest.raises(PolicyError):
        with_mount(home)


def test_it_can_be_moved(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv(cache_directory.VARIABLE, str(elsewhere))
    with_mount(home / "cache")
    with pytest.raises(PolicyError):
        with_mount(elsewhere)


def test_without_a_place_for_a_cache_everything_may_be_mounted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    with_mount(home)


def test_symbolic_links_do_not_hide_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "link").symlink_to("cache")
    with pytest.raises(PolicyError):
        with_mount(home / "link")
    with pytest.raises(PolicyError):
        with_mount(home / "link" / "stockade" / "deeper")
    (home / "deep").symlink_to("cache/stockade/deeper")
    with pytest.raises(PolicyError):
        with_mount(home / "deep")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "link"))
    with pytest.raises(PolicyError):
        with_mount(home / "cache")
    with_mount(home / "cache" / "other")


BOUND = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from stockade.errors import PolicyError
from stockade.policy.caching.guard import check_writable_mounts
from stockade.policy.box.filesystem import plan
from stockade import PolicyBuilder
home = sys.argv[2]
subprocess.run(["mount", "--bind", f"{home}/cache", f"{home}/view"], check=True)
for path in ("view", "view/stockade", "view/stockade/deeper", "view/other"):
    made = plan(PolicyBuilder().add_directory(f"{home}/{path}", inside="/data", writable=True).build().message)
    try:
        check_writable_mounts(made.entries)
        print("fine", path)
    except PolicyError:
        print("refused", path)
"""


def test_bind_mounts_of_the_host_do_not_hide_it(home: Path) -> None:
    (home / "view").mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", BOUND, EXECUTOR, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "refused view",
        "refused view/stockade",
        "refused view/stockade/deeper",
        "fine view/other",
    ]
