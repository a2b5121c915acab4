"""What a program needs in the box: compared with ldd, and run in a root that holds nothing else."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stockade.errors import PolicyError, SetupError
from stockade.policy.box import libraries as module
from stockade.policy.box.libraries import Libraries, libraries_for_binary
from stockade.policy.box.linker import CACHE_PATH, read_cache
from support.compiler import CCompiler
from support.elf import make_elf
from support.shared import LIBRARY, program, shared


def ldd(program: str) -> set[str]:
    """The files that the loader itself says it would map, at the paths it would map them from."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {os.path.normpath(path) for path in re.findall(r"(/\S+) \(0x", said)}


def inside(found: Libraries) -> set[str]:
    return {path for path, _ in found.files}


def installed(*names: str) -> list[str]:
    """The paths of those programs that this host has."""
    return [path for name in names if (path := shutil.which(name, path="/usr/bin:/bin"))]


@pytest.mark.parametrize("path", installed("gzip", "bash", "env", "jq", "python3", "perl", "git", "gcc"))
def test_it_finds_what_ldd_finds(path: str) -> None:
    found = libraries_for_binary(path)
    assert inside(found) - {os.path.realpath(path)} == ldd(path)
    assert os.path.realpath(path) in inside(found)
    assert found.missing == ()


def test_a_program_that_is_a_link_is_at_both_places() -> None:
    found = libraries_for_binary("/bin/sh")
    real = os.path.realpath("/bin/sh")
    assert (real, real) in found.files
    assert found.symlinks == (("/bin/sh", real),)


def test_a_static_program_is_all_that_it_needs(compile_c: CCompiler) -> None:
    path = str(compile_c("int main(void) { return 0; }"))
    assert libraries_for_binary(path).files == ((path, path),)


@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"])
@pytest.mark.parametrize("directory", ["$ORIGIN/../lib", "${ORIGIN}/../lib"])
def test_origin(public_tmp: Path, directory: str, tags: str) -> None:
    shared(public_tmp / "lib")
    path = program(public_tmp / "bin", public_tmp / "lib", f"-Wl,-rpath,{directory},{tags}")
    found = libraries_for_binary(str(path))
    assert inside(found) - {str(path)} == ldd(str(path))
    assert (str(public_tmp / "lib/libf.so"),) * 2 in found.files
    assert found.needs_proc == "libf.so"
    # The loader goes through bin/.. on its way.
    assert found.directories == (str(public_tmp / "bin"),)


def test_origin_of_a_link_is_the_place_of_the_file(public_tmp: Path) -> None:
    shared(public_tmp / "app/lib")
    path = program(public_tmp / "app/bin", public_tmp / "app/lib", "-Wl,-rpath,$ORIGIN/../lib")
    link = public_tmp / "elsewhere"
    link.symlink_to(path)
    found = libraries_for_binary(str(link))
    assert found.symlinks == ((str(link), str(path)),)
    assert str(public_tmp / "app/lib/libf.so") in inside(found)


def test_a_library_may_have_its_own_origin(public_tmp: Path) -> None:
    deep = public_tmp / "lib/deep"
    shared(deep, "int g(void) { return 7; }", name="libg.so")
    needs_g = "int g(void); int f(void) { return g(); }"
    shared(public_tmp / "lib", needs_g, f"-L{deep}", "-lg", "-Wl,-rpath,$ORIGIN/deep")
    path = program(public_tmp, public_tmp / "lib", f"-Wl,-rpath,{public_tmp}/lib", "-Wl,--allow-shlib-undefined")
    found = libraries_for_binary(str(path))
    assert inside(found) - {str(path)} == ldd(str(path))
    assert str(deep / "libg.so") in inside(found)
    # Origins of libraries do not hang on /proc.
    assert found.needs_proc is None


@pytest.mark.parametrize(("tags", "reaches"), [("--disable-new-dtags", True), ("--enable-new-dtags", False)])
def test_rpath_reaches_the_libraries_of_libraries_and_runpath_does_not(
    public_tmp: Path, tags: str, reaches: bool
) -> None:
    shared(public_tmp / "lib", "int g(void) { return 7; }", name="libg.so")
    shared(public_tmp / "lib", "int g(void); int f(void) { return g(); }", "-lg")
    options = (f"-Wl,-rpath,{public_tmp}/lib,{tags}", "-Wl,--allow-shlib-undefined")
    path = program(public_tmp, public_tmp / "lib", *options)
    assert (subprocess.run([path], capture_output=True).returncode == 7) is reaches
    found = libraries_for_binary(str(path))
    assert (str(public_tmp / "lib/libg.so") in inside(found)) is reaches
    assert [(m.name, m.needed_by) for m in found.missing] == (
        [] if reaches else [("libg.so", str(public_tmp / "lib/libf.so"))]
    )


def test_a_runpath_hides_the_rpaths_of_those_above(public_tmp: Path) -> None:
    shared(public_tmp / "lib", "int g(void) { return 7; }", name="libg.so")
    shared(public_tmp / "lib", "int g(void); int f(void) { return g(); }", "-lg", "-Wl,-rpath,/no/such/directory")
    options = (f"-Wl,-rpath,{public_tmp}/lib,--disable-new-dtags", "-Wl,--allow-shlib-undefined")
    path = program(public_tmp, public_tmp / "lib", *options)
    assert subprocess.run([path], capture_output=True).returncode == 127
    assert [missing.name for missing in libraries_for_binary(str(path)).missing] == ["libg.so"]


def test_a_file_with_both_has_only_its_runpath(public_tmp: Path) -> None:
    directory = bytes(shared(public_tmp / "lib").parent)
    strings = b"\0libf.so\0" + directory + b"\0/no/such/directory\0"
    needed, rpath, runpath = (1, 1), (15, strings.index(directory)), (29, strings.index(b"/no/such"))
    path = public_tmp / "made"
    for tags, found in [([needed, rpath], True), ([needed, rpath, runpath], False)]:
        path.write_bytes(make_elf(dynamic=tags, strings=strings))
        assert (libraries_for_binary(str(path)).missing == ()) is found


def test_nor_do_its_libraries_have_its_rpath(public_tmp: Path) -> None:
    deep = shared(public_tmp / "deep", "int g(void) { return 7; }", name="libg.so").parent
    needs_g = "int g(void); int f(void) { return g(); }"
    directory = shared(public_tmp / "lib", needs_g, f"-L{deep}", "-lg").parent
    strings = (
        b"\0libf.so\0" + b"\0".join([bytes(deep), bytes(directory), bytes(deep) + b":" + bytes(directory)]) + b"\0"
    )
    both = strings.index(bytes(deep) + b":")
    path = public_tmp / "made"
    path.write_bytes(make_elf(dynamic=[(1, 1), (15, both)], strings=strings))
    assert libraries_for_binary(str(path)).missing == ()
    runpath = strings.index(bytes(directory))
    path.write_bytes(make_elf(dynamic=[(1, 1), (15, both), (29, runpath)], strings=strings))
    assert [missing.name for missing in libraries_for_binary(str(path)).missing] == ["libg.so"]


def test_a_loader_for_another_machine(public_tmp: Path) -> None:
    loader = public_tmp / "loader"
    path = public_tmp / "made"
    path.write_bytes(make_elf(interpreter=bytes(loader) + b"\0"))
    image = bytearray(make_elf())
    loader.write_bytes(image)
    assert str(loader) in inside(libraries_for_binary(str(path)))
    image[18] = 183
    loader.write_bytes(image)
    with pytest.raises(PolicyError, match="no loader for x86_64"):
        libraries_for_binary(str(path))


def test_files_that_are_no_libraries_for_it_are_passed_over(public_tmp: Path) -> None:
    shared(public_tmp / "right")
    (public_tmp / "text").mkdir()
    (public_tmp / "text/libf.so").write_text("not ELF")
    (public_tmp / "foreign").mkdir()
    foreign = bytearray((public_tmp / "right/libf.so").read_bytes())
    foreign[18] = 40  # e_machine: arm
    (public_tmp / "foreign/libf.so").write_bytes(foreign)
    (public_tmp / "fifo").mkdir()
    os.mkfifo(public_tmp / "fifo/libf.so")
    search = ":".join(str(public_tmp / name) for name in ("none", "fifo", "text", "foreign", "right"))
    path = program(public_tmp, public_tmp / "right", f"-Wl,-rpath,{search}")
    assert str(public_tmp / "right/libf.so") in inside(libraries_for_binary(str(path)))


def test_what_only_the_cache_knows_brings_the_cache(public_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cache made by ldconfig itself for a directory of ours."""
    library = shared(public_tmp / "lib", LIBRARY, "-Wl,-soname,libf.so")
    cache = public_tmp / "cache"
    (public_tmp / "conf").write_text(f"{public_tmp}/lib\n")
    subprocess.run(["/sbin/ldconfig", "-X", "-C", cache, "-f", public_tmp / "conf"], check=True)
    assert str(library) in read_cache(str(cache))["libf.so"]
    path = program(public_tmp, public_tmp / "lib")
    without = libraries_for_binary(str(path))
    assert [missing.name for missing in without.missing] == ["libf.so"]
    module._remembered.clear()
    monkeypatch.setattr("stockade.policy.box.linker.CACHE_PATH", str(cache))
    found = libraries_for_binary(str(path))
    module._remembered.clear()
    assert {str(library), str(cache)} < inside(found)
    assert found.missing == ()


def test_the_cache_is_left_out_when_the_default_directories_are_enough() -> None:
    assert CACHE_PATH not in inside(libraries_for_binary("/usr/bin/gzip"))


def test_the_cache_of_this_host_is_read() -> None:
    said = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    expected = set(re.findall(r"^\t(\S+) .* => (\S+)$", said, re.MULTILINE))
    assert {(name, path) for name, paths in read_cache(CACHE_PATH).items() for path in paths} == expected


@pytest.mark.parametrize("content", [b"", b"glibc-ld.so.cache1.1", b"glibc-ld.so.cache1.1" + b"\xff" * 200, b"x" * 500])
def test_a_broken_cache_is_no_cache(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cache").write_bytes(content)
    assert read_cache(str(tmp_path / "cache")) == {}


def script(directory: Path, line: str) -> Path:
    path = directory / "script"
    path.write_text(f"{line}\necho hello\n")
    path.chmod(0o755)
    return path


def test_a_script_brings_its_interpreter(public_tmp: Path) -> None:
    path = script(public_tmp, "#!/bin/sh -e")
    found = libraries_for_binary(str(path))
    assert inside(found) == {str(path)} | inside(libraries_for_binary("/bin/sh"))
    assert ("/bin/sh", os.path.realpath("/bin/sh")) in found.symlinks or os.path.realpath("/bin/sh") == "/bin/sh"


@pytest.mark.parametrize("line", ["#!/usr/bin/env bash", "#!/usr/bin/env -S A=b bash -e"])
def test_env_brings_the_program_that_it_finds(public_tmp: Path, line: str) -> None:
    found = libraries_for_binary(str(script(public_tmp, line)))
    assert {"/usr/bin/env", "/usr/bin/bash"} < inside(found)


def test_scripts_of_scripts(public_tmp: Path) -> None:
    first = script(public_tmp, "#!/bin/sh")
    second = public_tmp / "second"
    second.write_text(f"#!{first}\n")
    second.chmod(0o755)
    assert {str(first), str(second), os.path.realpath("/bin/sh")} < inside(libraries_for_binary(str(second)))


def test_a_script_that_interprets_itself(public_tmp: Path) -> None:
    path = public_tmp / "script"
    path.write_text(f"#!{path}\n")
    with pytest.raises(PolicyError, match="more than 5 deep"):
        libraries_for_binary(str(path))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("#!/no/such/interpreter", "/no/such/interpreter"),
        ("#!/usr/bin/env no-such-program", "no-such-program"),
    ],
)
def test_a_missing_interpreter_is_named(public_tmp: Path, line: str, said: str) -> None:
    with pytest.raises(SetupError) as caught:
        libraries_for_binary(str(script(public_tmp, line)))
    assert (caught.value.errno, caught.value.path) == (errno.ENOENT, said)


@pytest.mark.parametrize("line", ["#!../sh", "#!relative", "#!/proc/self/exe", "#!/bin/../bin/sh", "#!/dev/stdin"])
def test_interpreters_that_are_not_mounted(public_tmp: Path, line: str) -> None:
    with pytest.raises(PolicyError, match="interpreter"):
        libraries_for_binary(str(script(public_tmp, line)))


def test_a_hostile_program_cannot_have_other_files_mounted(public_tmp: Path) -> None:
    """It names a secret as its loader, as its interpreter and as a library; none of them is ELF."""
    secret = public_tmp / "secret"
    secret.write_text("the secret")
    hostile = public_tmp / "hostile"
    hostile.write_bytes(make_elf(interpreter=bytes(secret) + b"\0"))
    with pytest.raises(PolicyError, match="no loader for x86_64"):
        libraries_for_binary(str(hostile))
    with pytest.raises(PolicyError, match="neither an ELF file nor a script"):
        libraries_for_binary(str(script(public_tmp, f"#!{secret}")))
    names = [bytes(secret), b"/proc/self/exe", b"../secret", b"/etc/passwd"]
    strings = b"\0" + b"\0".join(names) + b"\0"
    needed = [(1, strings.index(name)) for name in names]
    hostile.write_bytes(make_elf(dynamic=needed, strings=strings))
    found = libraries_for_binary(str(hostile))
    assert inside(found) == {str(hostile)}
    assert {missing.name.encode() for missing in found.missing} == set(names)


def test_a_library_that_is_named_by_its_path(public_tmp: Path) -> None:
    """The positive control of the test above: a real library is taken."""
    library = bytes(shared(public_tmp))
    path = public_tmp / "made"
    path.write_bytes(make_elf(dynamic=[(1, 1)], strings=b"\0" + library + b"\0"))
    assert library.decode() in inside(libraries_for_binary(str(path)))


def test_an_endless_search_is_ended(public_tmp: Path) -> None:
    directories = ":".join(f"/{number:x}" for number in range(2500)).encode()
    names = [b"n%d" % number for number in range(400)]
    strings = b"\0" + b"\0".join(names) + b"\0" + directories + b"\0"
    needed = [(1, strings.index(b"\0" + name + b"\0") + 1) for name in names]
    path = public_tmp / "endless"
    path.write_bytes(make_elf(dynamic=[*needed, (15, strings.index(directories))], strings=strings))
    with pytest.raises(PolicyError, match="more than 20000 p"):
        libraries_for_binary(str(path))


def test_a_program_for_another_machine(public_tmp: Path) -> None:
    image = bytearray(make_elf())
    image[18] = 183
    path = public_tmp / "foreign"
    path.write_bytes(image)
    with pytest.raises(SetupError, match=r"made for aarch64.*this machine is x86_64") as caught:
        libraries_for_binary(str(path))
    assert caught.value.errno == errno.ENOEXEC


@pytest.mark.parametrize(
    ("path", "number"), [("/no/such/program", errno.ENOENT), ("/usr/bin", errno.EISDIR), ("/dev/null", errno.EINVAL)]
)
def test_no_program_is_there(path: str, number: int) -> None:
    with pytest.raises(SetupError) as caught:
        libraries_for_binary(path)
    assert (caught.value.errno, caught.value.path) == (number, path)


def test_a_program_that_cannot_be_read(public_tmp: Path) -> None:
    path = public_tmp / "unreadable"
    shutil.copy("/usr/bin/gzip", path)
    path.chmod(0o111)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may read everything
    try:
        with pytest.raises(SetupError, match="add_file") as caught:
            libraries_for_binary(str(path))
    finally:
        os.seteuid(user)
    assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize("path", ["gzip", "/usr/bin/../bin/gzip", "/usr/bin/gzip/", "/proc/self/exe", ""])
def test_paths_must_be_canonical(path: str) -> None:
    with pytest.raises(PolicyError, match="libraries_for_binary"):
        libraries_for_binary(path)


def test_a_result_is_remembered_until_a_file_changes(public_tmp: Path) -> None:
    library = shared(public_tmp / "lib")
    path = program(public_tmp, public_tmp / "lib", f"-Wl,-rpath,{public_tmp}/first:{public_tmp}/lib")
    found = libraries_for_binary(str(path))
    assert libraries_for_binary(str(path)) is found
    assert str(library) in inside(found)
    # A file that was not there before comes first on the search path.
    (public_tmp / "first").mkdir()
    shutil.copy(library, public_tmp / "first/libf.so")
    assert str(public_tmp / "first/libf.so") in inside(libraries_for_binary(str(path)))
    # The program itself is replaced by rename.
    shutil.copy("/usr/bin/gzip", public_tmp / "new")
    (public_tmp / "new").rename(path)
    assert str(library) not in inside(libraries_for_binary(str(path)))


def lay_out(found: Libraries, root: Path) -> None:
    """Copy what was found into a root directory."""
    for target, source in found.files:
        place = root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
    for target, points_to in found.symlinks:
        place = root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(points_to)
    for target in found.directories:
        (root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)


def run_in(root: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command with `root` as its root directory and nothing else."""
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "/usr/sbin/chroot", root, *argv],
        capture_output=True,
        text=True,
        env={},
    )


STARTS = {"gzip": ["--version"], "bash": ["-c", "echo hello"], "env": ["-i"], "jq": ["-n", "1"]}


@pytest.mark.parametrize("name", installed(*STARTS))
def test_the_program_starts_with_what_was_found(public_tmp: Path, name: str) -> None:
    argv = STARTS[os.path.basename(name)]
    found = libraries_for_binary(name)
    lay_out(found, public_tmp)
    done = run_in(public_tmp, name, *argv)
    assert done.returncode == 0, done.stderr
    # The control: without the last library it does not.
    (public_tmp / found.files[-1][0].lstrip("/")).unlink()
    assert run_in(public_tmp, name, *argv).returncode != 0


def test_origin_works_in_the_box_with_proc_alone(public_tmp: Path) -> None:
    """What `needs_proc` is for."""
    shared(public_tmp / "host/lib")
    path = program(public_tmp / "host/bin", public_tmp / "host/lib", "-Wl,-rpath,$ORIGIN/../lib")
    root = public_tmp / "root"
    lay_out(libraries_for_binary(str(path)), root)
    assert run_in(root, str(path)).returncode == 127
    (root / "proc").mkdir()
    mount = f"mount --rbind /proc {root}/proc && exec chroot {root} {path}"
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount], capture_output=True)
    assert done.returncode == 7, done.stderr
