"""What a Python interpreter needs: compared with what interpreters themselves say, and with made-up installations."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stockade import Policy, PolicyBuilder
from stockade.errors import PolicyError, SetupError
from stockade.policy.box import python_files as module
from stockade.policy.box import python_modules
from stockade.policy.box.box_paths import is_within
from stockade.policy.box.filesystem import plan
from stockade.policy.box.python_files import PythonFiles, python_files
from support.elf import make_elf
from support.pythons import SYSTEM, installed_by_pyenv, made_up, make_environment, packages_of
from support.shared import shared

ASK = "import json, sys; print(json.dumps([sys.path, sys.base_prefix, sys.version_info[:2]]))"


def shown(found: PythonFiles, path: str) -> bool:
    """Whether the box shows `path` of the host at the same place."""
    return any(is_within(path, inside) for inside, _ in found.directories) or path in dict(found.files)


def directories(found: PythonFiles) -> list[str]:
    return [inside for inside, _ in found.directories]


def agrees_with_itself(path: str) -> PythonFiles:
    """Check that everything that the interpreter itself looks through is shown, and return what was found."""
    said = subprocess.run([path, "-I", "-c", ASK], capture_output=True, check=True, env={}).stdout
    search, prefix, version = json.loads(said)
    found = python_files(path)
    assert (found.prefix, found.version) == (prefix, f"{version[0]}.{version[1]}")
    assert [entry for entry in search if os.path.exists(entry) and not shown(found, entry)] == []
    # And nothing more than that.
    assert [d for d in directories(found) if not any(is_within(entry, d) for entry in search)] == []
    assert found.missing == ()
    return found


# --- real interpreters ---


def test_the_interpreter_of_the_system() -> None:
    found = agrees_with_itself(SYSTEM)
    assert dict(found.symlinks) == {SYSTEM: os.path.realpath(SYSTEM)}
    assert os.path.realpath(SYSTEM) in dict(found.files)


def test_it_may_be_called_by_another_name_of_its_directory() -> None:
    assert os.path.realpath("/bin") == "/usr/bin", "this system keeps /bin apart"
    found = agrees_with_itself("/bin/python3")
    assert dict(found.symlinks)["/bin/python3"] in (SYSTEM, os.path.realpath(SYSTEM))


def test_libraries_of_extension_modules_are_what_ldd_finds() -> None:
    found = python_files(SYSTEM)
    files = {os.path.realpath(source) for _, source in found.files}
    for extension in sorted(Path(found.directories[0][0], "lib-dynload").glob("_[a-z]*.so")):
        said = subprocess.run(["ldd", extension], capture_output=True, text=True, check=True).stdout
        needed = {os.path.realpath(path) for path in re.findall(r"(/\S+) \(0x", said)}
        assert needed <= files, extension


@pytest.mark.parametrize("options", [(), ("--system-site-packages",), ("--copies",)])
def test_a_virtual_environment(public_tmp: Path, options: tuple[str, ...]) -> None:
    path = make_environment(public_tmp / "env", *options)
    found = agrees_with_itself(path)
    assert str(public_tmp / "env/pyvenv.cfg") in dict(found.files)
    assert str(packages_of(public_tmp / "env")) in directories(found)
    system = [directory for directory in directories(found) if directory.endswith("dist-packages")]
    assert bool(system) is ("--system-site-packages" in options)
    if "--copies" not in options:
        assert {f"{public_tmp}/env/bin/{name}" for name in ("python", "python3")} <= set(dict(found.symlinks))
    # Neither the directory that the environment lies in nor the rest of the environment.
    assert not shown(found, str(public_tmp)) and not shown(found, str(public_tmp / "env/bin/activate"))


@pytest.mark.parametrize("path", installed_by_pyenv() or [""])
def test_interpreters_of_pyenv(path: str) -> None:
    if not path:
        pytest.skip("no interpreter of pyenv that this user may read")
    agrees_with_itself(path)


# --- .pth files ---


@pytest.fixture
def environment(public_tmp: Path) -> Path:
    """A virtual environment, beneath `public_tmp`/project."""
    make_environment(public_tmp / "project/env")
    return public_tmp / "project/env"


def test_directories_of_path_files_are_shown(environment: Path, public_tmp: Path) -> None:
    packages = packages_of(environment)
    (public_tmp / "source").mkdir()
    (public_tmp / "other").mkdir()
    lines = ["# a comment", "import sys; sys.path.append('/srv')", str(public_tmp / "source"), "/no/such/directory"]
    (packages / "editable.pth").write_text("\n".join(lines) + "\n\n../../../../../other\n")
    (packages / ".hidden.pth").write_text("/srv\n")
    found = agrees_with_itself_but_for_srv(str(environment / "bin/python"))
    assert {str(public_tmp / "source"), str(public_tmp / "other")} < set(directories(found))
    assert found.left_out == ()


def agrees_with_itself_but_for_srv(path: str) -> PythonFiles:
    found = python_files(path)
    assert not any(is_within(directory, "/srv") for directory in directories(found))
    return found


@pytest.mark.parametrize("named", ["/", "/etc", "/home", "/usr", "/proc/self", "/dev/shm", "{project}", "{home}"])
def test_path_files_cannot_have_everything_shown(
    environment: Path, monkeypatch: pytest.MonkeyPatch, public_tmp: Path, named: str
) -> None:
    (public_tmp / "somebody").mkdir()
    monkeypatch.setenv("HOME", str(public_tmp / "somebody"))
    named = named.format(project=environment.parent, home=public_tmp / "somebody")
    before = directories(python_files(str(environment / "bin/python")))
    (packages_of(environment) / "wide.pth").write_text(f"{named}\n")
    found = python_files(str(environment / "bin/python"))
    assert directories(found) == before
    (said,) = found.left_out
    assert named in said and "wide.pth" in said


def test_a_path_file_that_the_box_can_write_is_not_obeyed(environment: Path, public_tmp: Path) -> None:
    (public_tmp / "other").mkdir()
    (packages_of(environment) / "other.pth").write_text(f"{public_tmp}/other\n")
    builder = PolicyBuilder().add_python(environment / "bin/python")
    assert str(public_tmp / "other") in [target for target, _, _ in plan(builder.build().message).binds()]
    builder.add_directory(environment.parent, writable=True)
    made = plan(builder.build().message)
    assert str(public_tmp / "other") not in [target for target, _, _ in made.binds()]
    assert any("the box can write that file" in line for line in made.describe())


def test_a_link_to_other_packages_is_not_followed_anywhere(environment: Path, public_tmp: Path) -> None:
    packages = packages_of(environment)
    (public_tmp / "secrets").mkdir()
    packages.rmdir()
    packages.symlink_to(public_tmp / "secrets")
    with pytest.raises(PolicyError, match="not called site-packages"):
        python_files(str(environment / "bin/python"))
    # The control: a link to a directory of that name.
    packages.unlink()
    (public_tmp / "shared/site-packages").mkdir(parents=True)
    packages.symlink_to(public_tmp / "shared/site-packages")
    assert dict(python_files(str(environment / "bin/python")).directories)[str(packages)] == str(
        public_tmp / "shared/site-packages"
    )


# --- extension modules of packages ---


def test_libraries_that_a_package_needs_from_elsewhere(environment: Path, public_tmp: Path) -> None:
    outside = shared(public_tmp / "outside", "int g(void) { return 7; }", name="libg.so")
    package = packages_of(environment) / "package"
    needs_g = "int g(void); int f(void) { return g(); }"
    options = (f"-L{outside.parent}", "-lg", f"-Wl,-rpath,{outside.parent}")
    path = str(environment / "bin/python")
    assert not shown(python_files(path), str(outside))
    # Seen although the first result was remembered: a package was installed meanwhile.
    shared(package, needs_g, *options, name="module.cpython-311-x86_64-linux-gnu.so")
    assert shown(python_files(path), str(outside))


def test_broken_and_foreign_modules_are_passed_over(environment: Path) -> None:
    packages = packages_of(environment)
    foreign = bytearray(make_elf(dynamic=[(1, 1)], strings=b"\0libz.so.1\0"))
    foreign[18] = 183
    (packages / "foreign.so").write_bytes(foreign)
    (packages / "broken.so").write_bytes(make_elf(dynamic=[(1, 9999)]))
    (packages / "text.so").write_text("INPUT(libz.so)")
    (packages / "loop").symlink_to(packages)
    os.mkfifo(packages / "fifo.so")
    python_files(str(environment / "bin/python"))


@pytest.mark.parametrize(
    ("where", "limit", "said"),
    [
        (python_modules, "MAX_FILES", "more than 3 files"),
        (python_modules, "MAX_DEPTH", "more than 3 deep"),
        (module, "MAX_SHARED_OBJECTS", "more than 3 extension modules"),
        (module, "MAX_LIBRARIES", "more than 3 files"),
        (module, "MAX_LOOKS", "more than 3 p"),
    ],
)
def test_limits(environment: Path, monkeypatch: pytest.MonkeyPatch, where: object, limit: str, said: str) -> None:
    (packages_of(environment) / "a/b/c/d").mkdir(parents=True)
    path = str(environment / "bin/python")
    assert python_files(path)
    module._remembered.clear()
    monkeypatch.setattr(where, limit, 3)
    with pytest.raises(PolicyError, match=said):
        python_files(path)


# --- made-up installations ---


@pytest.mark.parametrize("top", ["lib", "lib64"])
@pytest.mark.parametrize("name", ["python3.99", "python3.99d", "python3.99-dbg", "python3", "python"])
def test_layouts(public_tmp: Path, top: str, name: str) -> None:
    path = made_up(public_tmp / "opt", name, top=top)
    found = python_files(path)
    assert (found.version, found.prefix) == ("3.99", str(public_tmp / "opt"))
    assert directories(found) == [f"{public_tmp}/opt/{top}/python3.99"]


def test_a_free_threaded_build_and_its_version_by_its_shared_library(public_tmp: Path) -> None:
    assert python_files(made_up(public_tmp / "a", "python3.99t", library="python3.99t")).version == "3.99t"
    path = Path(made_up(public_tmp / "b", "snake"))
    path.write_bytes(make_elf(dynamic=[(1, 1)], strings=b"\0libpython3.99.so.1.0\0"))
    assert python_files(str(path)).version == "3.99"


def test_a_library_in_one_file_and_extensions_elsewhere(public_tmp: Path) -> None:
    path = made_up(public_tmp / "opt/inner", library="")
    (public_tmp / "opt/lib/python3.99/lib-dynload").mkdir(parents=True)
    (public_tmp / "opt/inner/lib/python3.99").mkdir(parents=True)
    (public_tmp / "opt/inner/lib/python399.zip").write_bytes(b"")
    found = python_files(path)
    assert f"{public_tmp}/opt/inner/lib/python399.zip" in dict(found.files)
    assert f"{public_tmp}/opt/lib/python3.99/lib-dynload" in directories(found)


def test_two_libraries_and_a_name_that_does_not_say_which(public_tmp: Path) -> None:
    path = made_up(public_tmp / "opt", "python3")
    made_up(public_tmp / "opt", "python3", library="python3.98")
    with pytest.raises(PolicyError, match=r"3\.98, 3\.99.*bin/python3\.11"):
        python_files(path)


def test_what_is_no_python(public_tmp: Path) -> None:
    with pytest.raises(PolicyError, match=r"does not look like a Python.*add_libraries_for_binary"):
        python_files("/usr/bin/gzip")
    with pytest.raises(PolicyError, match="is PyPy, and only CPython"):
        python_files(made_up(public_tmp / "pypy", "pypy3.10", library=""))
    (public_tmp / "python3").write_text("hello")
    with pytest.raises(PolicyError, match="is no program"):
        python_files(str(public_tmp / "python3"))
    with pytest.raises(SetupError, match=r"no standard library of Python 3\.99 above"):
        python_files(made_up(public_tmp / "alone", library=""))
    with pytest.raises(SetupError, match="No such file"):
        python_files(str(public_tmp / "nothing"))


def test_a_script_of_a_version_manager(public_tmp: Path) -> None:
    shim = public_tmp / "shims" / "python3"
    shim.parent.mkdir()
    shim.write_text("#!/usr/bin/env bash\nexec pyenv exec python3\n")
    with pytest.raises(PolicyError, match=r"is a script for .*/usr/bin/env.*pyenv which python3"):
        python_files(str(shim))
    real = made_up(public_tmp / "versions/3.99.1", "python3")
    with pytest.raises(PolicyError, match=f"for example .*{real}"):
        python_files(str(shim))


def test_arrangements_that_are_not_supported(public_tmp: Path) -> None:
    path = made_up(public_tmp / "opt")
    Path(f"{path}._pth").write_text("lib\n")
    with pytest.raises(PolicyError, match=r"\._pth.*not supported"):
        python_files(path)
    path = made_up(public_tmp / "env")
    (public_tmp / "env/pyvenv.cfg").write_text("home = ../opt/bin\n")
    with pytest.raises(PolicyError, match="no absolute path"):
        python_files(path)


def test_an_environment_cannot_lead_into_the_processes_of_the_host(public_tmp: Path) -> None:
    made_up(public_tmp / "opt")
    path = made_up(public_tmp / "env", library="")
    for home, fine in ((f"{public_tmp}/opt/bin", True), (f"/proc/self/root{public_tmp}/opt/bin", False)):
        (public_tmp / "env/pyvenv.cfg").write_text(f"home = {home}\n")
        if fine:
            assert python_files(path).prefix == str(public_tmp / "opt")
        else:
            with pytest.raises(PolicyError, match="cannot be mounted"):
                python_files(path)


def test_links_in_a_circle(public_tmp: Path) -> None:
    (public_tmp / "python3").symlink_to(public_tmp / "python3.11")
    (public_tmp / "python3.11").symlink_to(public_tmp / "python3")
    with pytest.raises(SetupError, match="symbolic links"):
        python_files(str(public_tmp / "python3"))


def test_a_program_that_only_calls_itself_python_is_searched_like_any_other(public_tmp: Path) -> None:
    path = Path(made_up(public_tmp / "opt"))
    path.write_bytes(make_elf(dynamic=[(1, 1)], strings=b"\0/etc/passwd\0"))
    found = python_files(str(path))
    assert "/etc/passwd" not in dict(found.files)
    assert [missing.name for missing in found.missing] == ["/etc/passwd"]
    with pytest.raises(SetupError, match="/etc/passwd"):
        plan(PolicyBuilder().add_python(path).build().message)


# --- in a policy ---


def test_by_the_builder_and_in_text() -> None:
    by_builder = PolicyBuilder().add_python(SYSTEM).add_python(Path(SYSTEM)).build()
    by_text = Policy.from_text(f'schema_version: 1 filesystem {{ python: "{SYSTEM}" }}', "a.textproto")
    assert by_builder.message.filesystem == by_text.message.filesystem
    assert Policy.from_text(by_builder.to_text(), "a.textproto").message == by_builder.message


@pytest.mark.parametrize("path", ["python3", "/usr/bin/../bin/python3", "/usr/bin/python3/", "", "/"])
def test_paths_must_be_canonical(path: str) -> None:
    with pytest.raises(PolicyError, match="interpreter") as caught:
        PolicyBuilder().add_python(path)
    assert caught.value.source == f'add_python("{path}")'
    with pytest.raises(PolicyError, match="interpreter") as caught:
        Policy.from_text(f'schema_version: 1\nfilesystem {{\n  python: "{path}"\n}}', "a.textproto")
    assert (caught.value.source, caught.value.line) == ("a.textproto", 3)


def test_mounts_of_the_policy_come_first_and_stay(public_tmp: Path) -> None:
    """One beneath the standard library, one above an environment, one in the place of a directory."""
    path = make_environment(public_tmp / "env")
    library = python_files(path).directories[0][0]
    packages = str(packages_of(public_tmp / "env"))
    (public_tmp / "mine").mkdir()
    builder = PolicyBuilder().add_python(path).add_tmpfs(public_tmp).add_tmpfs(f"{library}/json")
    made = plan(builder.add_directory(public_tmp / "mine", inside=packages).build().message)
    order = [entry.target for entry in made.entries]
    assert order.index(library) < order.index(f"{library}/json")
    assert order.index(str(public_tmp)) < order.index(packages)
    assert {target: source for target, source, _ in made.binds()}[packages] == str(public_tmp / "mine")


def test_a_plan_is_made_again_when_the_interpreter_changes(public_tmp: Path) -> None:
    path = make_environment(public_tmp / "env")
    made = plan(PolicyBuilder().add_python(path).build().message)
    assert made.is_current()
    configuration = public_tmp / "env/pyvenv.cfg"
    configuration.write_text(configuration.read_text().replace("packages = false", "packages = true"))
    assert not made.is_current()
    again = plan(PolicyBuilder().add_python(path).build().message)
    assert len(again.entries) > len(made.entries)
    shutil.rmtree(packages_of(public_tmp / "env"))
    assert not again.is_current()
