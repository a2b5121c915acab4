"""ld.so.conf: what ldconfig reads and the loader does not."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from stockade import PolicyBuilder
from stockade.errors import SetupError
from stockade.policy.box import ld_configuration
from stockade.policy.box.filesystem import plan
from stockade.policy.box.ld_configuration import configured_directories, directory_with
from support.shared import program, shared


def configuration(directory: Path, text: str) -> str:
    (directory / "ld.so.conf").write_text(text)
    return str(directory / "ld.so.conf")


def test_directories_and_includes(public_tmp: Path) -> None:
    (public_tmp / "conf.d").mkdir()
    (public_tmp / "conf.d/a.conf").write_text("/opt/a\n  /opt/b/ # comment\n")
    (public_tmp / "conf.d/b.conf").write_text(f"include {public_tmp}/ld.so.conf\n/opt/c\nrelative\nhwcap 1 x\n")
    path = configuration(public_tmp, f"# comment\n/opt/first\ninclude conf.d/*.conf {public_tmp}/none\n/opt/a\n")
    assert configured_directories(path) == ("/opt/first", "/opt/a", "/opt/b", "/opt/c")
    assert configured_directories(str(public_tmp / "missing")) == ()


def test_it_lists_what_ldconfig_looks_through() -> None:
    said = subprocess.run(["/sbin/ldconfig", "-v", "-N", "-X"], capture_output=True, text=True, check=False).stdout
    looked_through = {os.path.realpath(path) for path in re.findall(r"^(/[^:]+):", said, re.MULTILINE)}
    assert {os.path.realpath(path) for path in configured_directories() if os.path.isdir(path)} <= looked_through


def test_the_loader_does_not_read_it_and_people_are_told(public_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared(public_tmp / "lib")
    path = program(public_tmp, public_tmp / "lib")
    monkeypatch.setattr(ld_configuration, "CONFIGURATION", configuration(public_tmp, f"{public_tmp}/lib\n"))
    assert directory_with("libf.so") == str(public_tmp / "lib")
    assert directory_with("../lib/libf.so") is None
    assert subprocess.run([path], capture_output=True, check=False).returncode == 127
    with pytest.raises(SetupError, match=r"libf\.so.*which .* lists, but not in the cache.*run ldconfig"):
        plan(PolicyBuilder().add_libraries_for_binary(path).build().message)
    # The control: a library that is nowhere.
    (public_tmp / "lib/libf.so").unlink()
    with pytest.raises(SetupError, match="install it, run ldconfig, or mount it"):
        plan(PolicyBuilder().add_libraries_for_binary(path).build().message)
