"""Interpreters that are shown with `python: …`, run under the system calls of policies/python3.textproto."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from stockade import Executor, Policy, Result, Status
from stockade._proto import policy_pb2
from support.programs import POLICIES
from support.pythons import SYSTEM, installed_by_pyenv, make_environment, packages_of
from support.shared import shared

IMPORTS = """
import bz2, ctypes, curses, decimal, hashlib, json, lzma, multiprocessing, sqlite3, ssl, sys, uuid, zlib, zoneinfo
database = sqlite3.connect(':memory:')
print(json.dumps([
    ssl.OPENSSL_VERSION, database.execute('select sqlite_version()').fetchone(), str(decimal.Decimal(1) / 7),
    ctypes.CDLL(None).abs(-3), hashlib.sha3_256(b'x').hexdigest(), len(lzma.compress(bz2.compress(b'x'))),
    sys.executable, sys.prefix, sys.base_prefix, sys._base_executable, sys.path,
]))
"""


def python_policy(path: str) -> Policy:
    """The system calls of the profile, and of the files only what the interpreter needs; /tmp and /dev as there."""
    message = Policy.load(POLICIES / "python3.textproto").message
    kept = [mount for mount in message.filesystem.mounts if mount.target in ("/dev", "/tmp")]
    filesystem = policy_pb2.FileSystem(mounts=kept, python=[path])
    message.filesystem.CopyFrom(filesystem)
    return Policy.from_message(message)


def inside(path: str, script: str, *options: str) -> Result:
    return Executor(python_policy(path)).run([path, *options, "-c", script], text=True)


def output_of(path: str, script: str) -> str:
    result = inside(path, script)
    assert (result.status, result.returncode) == (Status.OK, 0), f"{result.stderr} {result.violations}"
    return str(result.stdout)


def as_outside(path: str) -> None:
    """The interpreter works, and finds everything where it finds it without a sandbox."""
    said = subprocess.run([path, "-c", IMPORTS], capture_output=True, text=True, check=True, env={}, cwd="/").stdout
    assert json.loads(output_of(path, IMPORTS)) == json.loads(said)


@pytest.mark.parametrize("path", [SYSTEM, "/bin/python3", *installed_by_pyenv()])
def test_an_interpreter_on_its_own(path: str) -> None:
    as_outside(path)


@pytest.mark.parametrize("options", [(), ("--system-site-packages",), ("--copies",)])
def test_a_virtual_environment(public_tmp: Path, options: tuple[str, ...]) -> None:
    path = make_environment(public_tmp / "env", *options)
    (packages_of(public_tmp / "env") / "pure").mkdir()
    (packages_of(public_tmp / "env") / "pure/__init__.py").write_text("answer = 42\n")
    as_outside(path)
    assert output_of(path, "import pure; print(pure.answer)") == "42\n"


def test_scripts_of_an_environment_may_start_it_by_another_name(public_tmp: Path) -> None:
    path = make_environment(public_tmp / "env")
    other = f"{public_tmp}/env/bin/python3"
    result = Executor(python_policy(path)).run([other, "-c", "import sys; print(sys.prefix)"], text=True)
    assert result.stdout == f"{public_tmp}/env\n"


SYSTEM_PACKAGE = "import importlib.util, sys; print(any('dist-packages' in entry for entry in sys.path))"


def test_packages_of_the_system_only_when_the_environment_includes_them(public_tmp: Path) -> None:
    """And what is not included is not there at all."""
    plain = make_environment(public_tmp / "plain")
    including = make_environment(public_tmp / "including", "--system-site-packages")
    assert output_of(including, SYSTEM_PACKAGE) == "True\n"
    assert output_of(plain, SYSTEM_PACKAGE) == "False\n"
    listing = "import os; print(os.path.exists('/usr/lib/python3/dist-packages'))"
    assert (output_of(including, listing), output_of(plain, listing)) == ("True\n", "False\n")


def test_an_environment_beside_the_mounts_of_the_profile(public_tmp: Path) -> None:
    """The profile lists the standard library and libraries itself: they are mounted once."""
    path = make_environment(public_tmp / "env")
    (packages_of(public_tmp / "env") / "pure.py").write_text("answer = 42\n")
    message = Policy.load(POLICIES / "python3.textproto").message
    message.filesystem.python.append(path)
    executor = Executor(Policy.from_message(message))
    script = "import pure, ssl, sqlite3, sys; print(pure.answer, sys.prefix)"
    for interpreter, seen in ((path, f"42 {public_tmp}/env\n"), (SYSTEM, "")):
        assert executor.run([interpreter, "-c", script], text=True).stdout == seen


def test_an_extension_module_with_a_library_of_its_own(public_tmp: Path) -> None:
    path = make_environment(public_tmp / "env")
    package = packages_of(public_tmp / "env")
    beside = shared(package / "package.libs", "int h(void) { return 35; }", name="libh.so")
    elsewhere = shared(public_tmp / "elsewhere", "int g(void) { return 7; }", name="libg.so")
    code = "int g(void); int h(void); int f(void) { return g() + h(); }"
    paths = f"-Wl,-rpath,$ORIGIN/../package.libs:{elsewhere.parent}"
    module = shared(
        package / "package", code, f"-L{beside.parent}", "-lh", f"-L{elsewhere.parent}", "-lg", paths, name="native.so"
    )
    assert output_of(path, f"import ctypes; print(ctypes.CDLL('{module}').f())") == "42\n"


def test_an_editable_installation(public_tmp: Path) -> None:
    path = make_environment(public_tmp / "env")
    (public_tmp / "source/src").mkdir(parents=True)
    (public_tmp / "source/src/mine.py").write_text("answer = 42\n")
    (public_tmp / "source/secret").write_text("secret")
    (packages_of(public_tmp / "env") / "mine.pth").write_text(f"{public_tmp}/source/src\n")
    script = "import mine, os; print(mine.answer, os.listdir(os.path.dirname(mine.__file__) + '/..'))"
    assert output_of(path, script).startswith("42 ['src']")


@pytest.mark.parametrize("kind", ["system", "environment"])
def test_nothing_else_of_the_host_is_there(public_tmp: Path, kind: str) -> None:
    path = SYSTEM if kind == "system" else make_environment(public_tmp / "env")
    (public_tmp / "neighbour").mkdir()
    (public_tmp / "env").mkdir(exist_ok=True)
    (public_tmp / "env/secret").write_text("secret")
    hidden = ["/etc/passwd", "/etc/shadow", "/root", "/home", "/usr/bin/gzip", "/usr/share", "/bin/sh", "/proc", "/var"]
    hidden += [str(public_tmp / "neighbour"), str(public_tmp / "env/secret"), str(public_tmp / "env/bin/activate")]
    script = f"import os; print([path for path in {hidden!r} if os.path.lexists(path)])"
    assert output_of(path, script) == "[]\n"
    outside = subprocess.run([path, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "/etc/passwd" in outside and "neighbour" in outside


@pytest.mark.parametrize("what", ["library", "packages"])
def test_everything_is_read_only(public_tmp: Path, what: str) -> None:
    path = make_environment(public_tmp / "env")
    where = "os.path.dirname(os.__file__)" if what == "library" else repr(str(packages_of(public_tmp / "env")))
    script = f"import os; open({where} + '/new.py', 'w')"
    result = inside(path, script)
    assert (result.returncode, "Read-only file system" in str(result.stderr)) == (1, True)
    assert not os.path.exists(packages_of(public_tmp / "env") / "new.py")
