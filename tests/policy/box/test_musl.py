"""Programs for musl's loader, which is the real one: what is found is what it loads."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stockade import Executor, PolicyBuilder, Status
from stockade.policy.box import musl
from stockade.policy.box.libraries import Libraries, libraries_for_binary
from stockade.policy.box.musl import path_file
from support.shared import shared

LOADER = "/lib/ld-musl-x86_64.so.1"
# Without a C library, whose headers would be needed too: it calls f and ends with what that returns.
START = """
int f(void);
void _start(void)
{
    __asm__ volatile("and $-16, %%rsp; call f; mov %%eax, %%edi; mov $60, %%eax; syscall" ::: "memory");
}
"""


def library(directory: Path, *options: str, source: str = "int f(void) { return 7; }", name: str = "libf.so") -> Path:
    return shared(directory, source, "-nostdlib", *options, name=name)


def program(directory: Path, libraries: Path, *options: str, loader: str = LOADER) -> str:
    directory.mkdir(exist_ok=True, parents=True)
    (directory / "main.c").write_text(START)
    files = ["-o", f"{directory}/main", f"{directory}/main.c", f"-L{libraries}", "-lf"]
    linking = [f"-Wl,--dynamic-linker={loader}", "-Wl,--allow-shlib-undefined"]
    subprocess.run(["gcc", "-nostdlib", *files, *options, *linking], check=True)
    return str(directory / "main")


def own_loader(directory: Path, *search: str | Path) -> str:
    """A copy of the loader that has its list of directories beside itself."""
    (directory / "lib").mkdir(parents=True)
    (directory / "etc").mkdir()
    shutil.copy(os.path.realpath(LOADER), directory / "lib/ld-musl-x86_64.so.1")
    (directory / "etc/ld-musl-x86_64.path").write_text("\n".join(str(part) for part in search))
    return str(directory / "lib/ld-musl-x86_64.so.1")


def runs(path: str) -> bool:
    return subprocess.run([path], capture_output=True, check=False).returncode == 7


def runs_inside(path: str) -> bool:
    policy = PolicyBuilder().danger_default_allow_all().add_libraries_for_binary(path).add_proc().build()
    result = Executor(policy).run([path])
    assert result.status is Status.OK
    return result.returncode == 7


def inside(found: Libraries) -> set[str]:
    return {path for path, _ in found.files}


@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"])
@pytest.mark.parametrize("directory", ["{tmp}/lib", "$ORIGIN/../lib"])
def test_search_paths(public_tmp: Path, directory: str, tags: str) -> None:
    file = library(public_tmp / "lib")
    rpath = directory.format(tmp=public_tmp)
    path = program(public_tmp / "bin", public_tmp / "lib", f"-Wl,-rpath,{rpath},{tags}")
    found = libraries_for_binary(path)
    assert (runs(path), runs_inside(path)) == (True, True)
    assert inside(found) == {path, LOADER, str(file)}
    assert found.needs_proc == ("libf.so" if "ORIGIN" in directory else None)


@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"])
def test_both_kinds_of_search_path_reach_the_libraries_of_libraries(public_tmp: Path, tags: str) -> None:
    """Unlike with glibc, whose RUNPATH does not."""
    library(public_tmp / "lib", source="int g(void) { return 7; }", name="libg.so")
    library(public_tmp / "lib", "-lg", source="int g(void); int f(void) { return g(); }")
    path = program(public_tmp / "bin", public_tmp / "lib", f"-Wl,-rpath,{public_tmp}/lib,{tags}")
    assert (runs(path), runs_inside(path)) == (True, True)
    assert str(public_tmp / "lib/libg.so") in inside(libraries_for_binary(path))


@pytest.mark.parametrize("separator", [":", "\n"])
def test_the_list_of_directories(public_tmp: Path, separator: str) -> None:
    file = library(public_tmp / "second")
    loader = own_loader(public_tmp / "own", separator.join([f"{public_tmp}/first", f"{public_tmp}/second"]))
    path = program(public_tmp / "bin", public_tmp / "second", loader=loader)
    found = libraries_for_binary(path)
    assert (runs(path), runs_inside(path)) == (True, True)
    listing = str(public_tmp / "own/etc/ld-musl-x86_64.path")
    assert inside(found) == {path, loader, str(file), listing}
    # Nothing else is searched then, and without the list the loader would look elsewhere.
    Path(listing).write_text(str(public_tmp / "first"))
    assert not runs(path)
    assert [missing.name for missing in libraries_for_binary(path).missing] == ["libf.so"]


def test_without_a_list_it_looks_in_three_places(public_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places of the system, where a test puts nothing: here they are others, and cannot be compared with the loader."""
    file = library(public_tmp / "usr-lib")
    loader = own_loader(public_tmp / "own")
    path = program(public_tmp / "bin", public_tmp / "usr-lib", loader=loader)
    assert musl.DEFAULT_DIRECTORIES == ("/lib", "/usr/local/lib", "/usr/lib")
    monkeypatch.setattr(musl, "DEFAULT_DIRECTORIES", (str(public_tmp / "none"), str(public_tmp / "usr-lib")))
    # An empty list is a list: nothing is searched.
    assert (runs(path), [missing.name for missing in libraries_for_binary(path).missing]) == (False, ["libf.so"])
    (public_tmp / "own/etc/ld-musl-x86_64.path").unlink()
    assert inside(libraries_for_binary(path)) == {path, loader, str(file)}


def test_parts_of_the_c_library_are_the_loader(public_tmp: Path) -> None:
    library(public_tmp / "lib")
    for name in ("libc.so", "libc.musl-x86_64.so.1", "libpthread.so.0"):
        library(public_tmp / "lib", f"-Wl,-soname,{name}", source="", name="libstub.so")
        path = program(
            public_tmp / name, public_tmp / "lib", "-Wl,--no-as-needed", "-lstub", f"-Wl,-rpath,{public_tmp}/lib"
        )
        found = libraries_for_binary(path)
        assert (runs(path), found.missing) == (True, ())
        assert inside(found) == {path, LOADER, str(public_tmp / "lib/libf.so")}


def test_where_the_list_of_directories_is() -> None:
    assert path_file(LOADER) == "/etc/ld-musl-x86_64.path"
    assert path_file("/opt/musl/lib/ld-musl-aarch64.so.1") == "/opt/musl/etc/ld-musl-aarch64.path"
    assert path_file("/lib/ld-linux.so.2") is None
