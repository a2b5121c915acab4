"""The disk cache of text policies: it saves work, and never changes what a policy says."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel import architectures
from stockade.kernel.architectures import native
from stockade.policy.caching import cache, compiled
from stockade.policy.caching import directory as cache_directory
from stockade.policy.policy import Policy
from stockade.policy.text import reading as text

OTHER_UID = 61234
EXECUTOR = str(Path(architectures.__file__).parents[2])
TEXT = """\
schema_version: 1
name: "cached"
syscalls {
  rules { syscall: "ioctl" when { argument: 1 equal: "TCGETS" } action: ALLOW }
  rules { syscall: "getppid" action: TRACE hook: "parent" }
  groups { name: "read" }
  default_action { action: ERRNO errno: "EACCES" }
}
filesystem { mounts { target: "/tmp" tmpfs { size: "1M" } } }
"""
OTHER = TEXT.replace("TCGETS", "TIOCGWINSZ")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty, trusted cache for one test."""
    path = tmp_path / "cache"
    monkeypatch.setenv(cache_directory.VARIABLE, str(path))
    compiled.PROGRAMS.clear()
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.textproto"
    path.write_text(TEXT)
    return path


def loaded(path: Path) -> tuple[Policy, bytes]:
    """A policy and its program as a new process would get them."""
    compiled.PROGRAMS.clear()
    policy = Policy.load(path)
    return policy, policy.compile()


def expected(content: str, path: Path) -> tuple[Policy, bytes]:
    policy = Policy.from_text(content, str(path))
    compiled.PROGRAMS.clear()
    return policy, policy.compile()


def entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.exists() else []


def nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything fail that a policy from the cache must not need."""

    def forbidden(*_arguments: object) -> None:
        raise AssertionError("this should have come from the cache")

    monkeypatch.setattr(text, "read", forbidden)
    monkeypatch.setattr(text, "parse", forbidden)
    monkeypatch.setattr("stockade.policy.resolve.resolve", forbidden)
    monkeypatch.setattr("stockade.policy.bpf.compile.compile", forbidden)
    monkeypatch.setattr("stockade.policy.selfcheck.check_program", forbidden)


# --- hits ---


def test_an_unchanged_file_is_neither_read_nor_compiled_again(
    directory: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, program = loaded(policy)
    assert (first, program) == expected(TEXT, policy)
    facts = first.compiled()
    nothing_is_made(monkeypatch)
    again, same = loaded(policy)
    assert (again, same) == (first, program)
    assert again.places == first.places
    assert again.places.rule(0) == f"{policy}:4"
    assert again.digest == first.digest
    assert again.compiled() == facts
    assert facts.hooks == ("parent",)


@pytest.mark.parametrize("mode", ["enforce", "refuse", "permissive", "record"])
@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_each_mode_and_architecture_has_its_own_program(
    directory: Path, policy: Path, architecture: str, mode: str
) -> None:
    loaded(policy)
    for _ in range(2):
        compiled.PROGRAMS.clear()
        program = Policy.load(policy).compile(architecture, mode)
        assert program == Policy.from_text(TEXT).compile(architecture, mode)


def test_a_hit_loads_neither_the_parser_nor_the_compiler(directory: Path, policy: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1])\nfrom stockade import Policy\n"
    code += "Policy.load(sys.argv[2]).compiled()\nprint(*sys.modules)"
    parts = ("text.reading", "validate", "resolve", "groups", "evaluate", "selfcheck", "bpf.compile")
    heavy = {f"stockade.policy.{part}" for part in parts}
    for expected_modules in (heavy, set()):
        command = [sys.executable, "-c", code, EXECUTOR, str(policy)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) & heavy == expected_modules


def test_a_policy_from_the_cache_resolves_and_evaluates(directory: Path, policy: Path) -> None:
    first, _ = loaded(policy)
    again, _ = loaded(policy)
    assert again.resolve() == first.resolve()
    assert again.evaluate("ioctl", [0, "TCGETS"]).permits
    assert not again.evaluate("ioctl", [0, "TIOCSTI"]).permits
    assert again.to_text() == first.to_text()


def test_a_policy_with_other_mounts_needs_no_new_program(
    directory: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(policy)
    mounts = policy_pb2.FileSystem()
    mounts.mounts.add(target="/data").tmpfs.SetInParent()
    nothing_is_made(monkeypatch)
    changed = Policy.load(policy).with_filesystem(mounts)
    monkeypatch.undo()
    message = Policy.from_text(TEXT).message
    message.filesystem.CopyFrom(mounts)
    assert changed == Policy.from_message(message)
    assert changed.compile() == Policy.from_message(message).compile()
    mounts.mounts[0].target = "no absolute path"
    with pytest.raises(PolicyError) as refused:
        Policy.load(policy).with_filesystem(mounts)
    message.filesystem.CopyFrom(mounts)
    with pytest.raises(PolicyError) as at_once:
        Policy.from_message(message)
    assert str(refused.value) == str(at_once.value)


def test_unknown_fields_of_mounts_are_refused(policy: Path) -> None:
    mounts = policy_pb2.FileSystem.FromString(b"\xfa\x3e\x01x")
    with pytest.raises(PolicyError, match="newer"):
        Policy.from_text(TEXT).with_filesystem(mounts)


# --- what makes an entry another one ---


def test_a_changed_text_is_read_anew(directory: Path, policy: Path) -> None:
    loaded(policy)
    policy.write_text(OTHER)
    assert loaded(policy) == expected(OTHER, policy)
    policy.write_text(TEXT)
    assert loaded(policy) == expected(TEXT, policy)


def test_a_change_of_a_comment_counts(directory: Path, policy: Path) -> None:
    loaded(policy)
    policy.write_text(f"# one line more\n{TEXT}")
    assert loaded(policy)[0].places.rule(0) == f"{policy}:5"


def test_the_same_text_under_another_name_has_its_own_places(directory: Path, policy: Path) -> None:
    loaded(policy)
    copy = policy.with_name("copy.textproto")
    shutil.copy(policy, copy)
    assert loaded(copy)[0].places.rule(0) == f"{copy}:4"


def test_a_link_to_the_text_has_its_own_places(directory: Path, policy: Path) -> None:
    loaded(policy)
    link = policy.with_name("link.textproto")
    link.symlink_to(policy)
    assert loaded(link)[0].places.rule(0) == f"{link}:4"


def test_a_relative_name_is_that_of_its_directory(
    directory: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = policy.parent / "other"
    other.mkdir()
    (other / policy.name).write_text(OTHER)
    for place, content in ((policy.parent, TEXT), (other, OTHER), (policy.parent, TEXT)):
        monkeypatch.chdir(place)
        assert loaded(Path(policy.name)) == expected(content, Path(policy.name))


def test_a_text_that_became_wrong_is_an_error_and_not_kept(directory: Path, policy: Path) -> None:
    loaded(policy)
    kept = entries(directory)
    policy.write_text(TEXT.replace("getppid", "getpidd"))
    for _ in range(2):
        with pytest.raises(PolicyError, match="getpidd"):
            Policy.load(policy)
    assert entries(directory) == kept
    policy.unlink()
    with pytest.raises(PolicyError, match="cannot read"):
        Policy.load(policy)


@pytest.mark.parametrize("part", ["_CODE_LOADED", "FORMAT"])
def test_an_entry_of_other_code_is_ignored(
    directory: Path, policy: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(policy)
    assert cache.load_text(policy) is not None
    monkeypatch.setattr(cache, part, "other code" if part == "_CODE_LOADED" else 2)
    assert cache.load_text(policy) is None
    assert loaded(policy) == expected(TEXT, policy)


def test_code_that_was_replaced_under_a_running_process_keeps_nothing(
    directory: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_state_of_code", lambda: "newer")
    assert loaded(policy) == expected(TEXT, policy)
    assert not entries(directory)


def test_code_outside_of_plain_files_means_no_cache(
    directory: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_package", lambda: "/nonexistent/stockade.zip")
    assert cache._state_of_code() == ""
    monkeypatch.setattr(cache, "_CODE_LOADED", "")
    assert loaded(policy) == expected(TEXT, policy)
    assert not entries(directory)


def test_the_state_of_the_code_changes_with_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in cache._PARTS:
        (tmp_path / part).mkdir(parents=True, exist_ok=True)
    (tmp_path / "policy" / "bpf").mkdir()
    module = tmp_path / "policy" / "bpf" / "emit.py"
    module.write_text("A = 1\n")
    monkeypatch.setattr(cache, "_package", lambda: str(tmp_path))
    before = cache._state_of_code()
    assert before == cache._state_of_code()
    status = module.stat()
    module.write_text("A = 2\n")
    os.utime(module, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache._state_of_code() != before


def test_a_pipe_is_read_once_and_not_kept(directory: Path) -> None:
    for content in (TEXT, OTHER):
        reader, writer = os.pipe()
        os.write(writer, content.encode())
        os.close(writer)
        try:
            path = Path(f"/proc/self/fd/{reader}")
            assert Policy.load(path) == Policy.from_text(content)
        finally:
            os.close(reader)
    assert not entries(directory)


# --- includes and variables ---


def files(directory: Path, **texts: str) -> Path:
    """Write texts beside one another; gives the path of main.textproto."""
    directory.mkdir(exist_ok=True)
    for name, content in texts.items():
        (directory / f"{name}.textproto").write_text(content)
    return directory / "main.textproto"


MAIN = 'schema_version: 1\ninclude: "./base.textproto"\nsyscalls { rules { syscall: "getpid" action: ALLOW } }\n'
BASE = 'schema_version: 1\nsyscalls { rules { syscall: "getppid" action: ALLOW } }\n'
PATHS = """\
schema_version: 1
variables { name: "DATA" default: "/srv" }
filesystem {
  mounts { target: "/data" bind { source: "$DATA" kind: DIRECTORY } }
  mounts { target: "/home" bind { source: "$HOME/x" kind: DIRECTORY } }
  mounts { target: "/here" bind { source: "$PWD" kind: DIRECTORY } }
}
"""


def test_a_change_of_an_included_file_counts(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = files(tmp_path / "policies", main=MAIN, base=BASE)
    for _ in range(2):
        policy, _ = loaded(main)
        assert policy.evaluate("getppid").permits
        assert cache.load_text(main, {}) is not None
    (tmp_path / "policies" / "base.textproto").write_text(BASE.replace("getppid", "getpgrp"))
    policy, _ = loaded(main)
    assert not policy.evaluate("getppid").permits
    assert policy.evaluate("getpgrp").permits
    nothing_is_made(monkeypatch)
    assert loaded(main)[0] == policy
    monkeypatch.undo()
    (tmp_path / "policies" / "base.textproto").unlink()
    with pytest.raises(PolicyError, match=r"base\.textproto"):
        Policy.load(main)


def test_so_does_what_another_name_of_the_same_file_leads_to(directory: Path, tmp_path: Path) -> None:
    middle = 'schema_version: 1\ninclude: "./alias.textproto"\n'
    main = files(tmp_path / "p", main=MAIN + 'include: "./middle.textproto"\n', base=BASE, middle=middle)
    (tmp_path / "p" / "alias.textproto").symlink_to("base.textproto")
    assert not loaded(main)[0].evaluate("getpgrp").permits
    assert cache.load_text(main, {}) is not None
    (tmp_path / "p" / "alias.textproto").unlink()
    files(tmp_path / "p", alias=BASE.replace("getppid", "getpgrp"))
    assert loaded(main)[0].evaluate("getpgrp").permits


def test_the_same_name_in_another_directory_includes_its_own_neighbours(directory: Path, tmp_path: Path) -> None:
    one = files(tmp_path / "one", main=MAIN, base=BASE)
    two = files(tmp_path / "two", main=MAIN, base=BASE.replace("getppid", "getpgrp"))
    link = tmp_path / "link"
    link.symlink_to("one")
    assert loaded(link / one.name)[0].evaluate("getppid").permits
    link.unlink()
    link.symlink_to("two")
    assert loaded(link / two.name)[0].evaluate("getpgrp").permits


def test_each_value_of_a_variable_is_another_policy(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "paths.textproto"
    path.write_text(PATHS)

    def sources(**given: str) -> list[str]:
        return [mount.bind.source for mount in Policy.load(path, given).message.filesystem.mounts]

    for _ in range(2):
        for home in ("/home/one", "/home/two"):
            monkeypatch.setenv("HOME", home)
            for place in (tmp_path, tmp_path.parent):
                monkeypatch.chdir(place)
                assert sources() == ["/srv", f"{home}/x", str(place)]
                assert sources(DATA="/d") == ["/d", f"{home}/x", str(place)]
                assert sources(DATA="/d", HOME="/h") == ["/d", "/h/x", str(place)]
    nothing_is_made(monkeypatch)
    assert sources() == ["/srv", "/home/two/x", str(tmp_path.parent)]


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000])
def test_names_that_no_file_can_have(directory: Path, name: str) -> None:
    with pytest.raises(PolicyError):
        Policy.load(name)


# --- entries that are not as they were written ---


def text_entry(directory: Path, policy: Path) -> Path:
    return directory / cache._text_key(str(policy), {}).hex()


def program_entry(directory: Path, policy: Path) -> Path:
    read = Policy.load(policy)
    return directory / cache._program_key(read._key, read.places, native().name, "enforce").hex()


KINDS = {"text": text_entry, "program": program_entry}


def replaced_by_another(entry: Path) -> None:
    """Put the valid entry of the other kind in the place of this one."""
    other = next(each for each in entry.parent.iterdir() if each != entry)
    os.rename(other, entry)


def replaced_by_a_link(entry: Path) -> None:
    real = entry.with_name("real")
    entry.rename(real)
    entry.symlink_to(real)


def replaced_by_a_fifo(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry, 0o600)


def replaced_by_a_directory(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


def grown(entry: Path) -> None:
    with entry.open("ab") as file:
        file.truncate(cache_directory.MAX_FILE + 1)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda entry: entry.write_bytes(b""),
    "truncated": lambda entry: os.truncate(entry, entry.stat().st_size - 1),
    "text": lambda entry: entry.write_text(TEXT),
    "too long": grown,
    "another entry": replaced_by_another,
    "symbolic link": replaced_by_a_link,
    "second name": lambda entry: os.link(entry, entry.with_name("second")),
    "fifo": replaced_by_a_fifo,
    "directory": replaced_by_a_directory,
    "group may write": lambda entry: entry.chmod(0o620),
    "everybody may write": lambda entry: entry.chmod(0o602),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_counts_as_absent(directory: Path, policy: Path, kind: str, damage: str) -> None:
    loaded(policy)
    entry = KINDS[kind](directory, policy)
    assert entry.is_file()
    DAMAGES[damage](entry)
    read = Policy.from_text(TEXT, str(policy))
    if kind == "text":
        assert cache.load_text(policy) is None
    else:
        assert cache.load_program(read._key, read.places, native().name, "enforce") is None
    assert loaded(policy) == expected(TEXT, policy)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bits_and_cuts_are_noticed(directory: Path, policy: Path, data: st.DataObject) -> None:
    loaded(policy)
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    entry = KINDS[kind](directory, policy)
    content = bytearray(entry.read_bytes())
    place = data.draw(st.integers(0, len(content) * 8 - 1))
    content[place // 8] ^= 1 << place % 8
    entry.write_bytes(content[: data.draw(st.sampled_from([len(content), place // 8 + 1]))])
    assert loaded(policy) == expected(TEXT, policy)


def test_the_entry_of_another_policy_is_not_used(directory: Path, policy: Path) -> None:
    other = policy.with_name("other.textproto")
    other.write_text(OTHER)
    loaded(policy)
    loaded(other)
    for kind in KINDS.values():
        shutil.copy(kind(directory, other), kind(directory, policy))
    assert loaded(policy) == expected(TEXT, policy)


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", KINDS)
def test_the_entry_of_another_user_is_not_used(directory: Path, policy: Path, kind: str) -> None:
    loaded(policy)
    entry = KINDS[kind](directory, policy)
    assert read_entry(directory, entry.name) is not None
    os.chown(entry, OTHER_UID, -1)
    assert read_entry(directory, entry.name) is None
    assert loaded(policy) == expected(TEXT, policy)


def read_entry(directory: Path, name: str) -> bytes | None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return cache_directory.read(descriptor, name)
    finally:
        os.close(descriptor)


def test_a_fifo_is_not_read_and_a_long_file_not_used(
    directory: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(policy)
    entry = text_entry(directory, policy)
    content = entry.read_bytes()
    assert read_entry(directory, entry.name) == content
    with monkeypatch.context() as patch:
        patch.setattr(cache_directory, "MAX_FILE", len(content) - 1)
        assert read_entry(directory, entry.name) is None
    entry.unlink()
    os.mkfifo(entry, 0o600)
    descriptor = os.open(entry, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(descriptor, content)
        assert read_entry(directory, entry.name) is None
        assert os.read(descriptor, len(content)) == content
    finally:
        os.close(descriptor)


def test_entries_are_private_whatever_the_umask(directory: Path, policy: Path) -> None:
    mask = os.umask(0)
    try:
        loaded(policy)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(entry.stat().st_mode) for entry in entries(directory)] == [0o600] * 2


# --- the directory ---


def test_where_the_directory_is() -> None:
    path = cache_directory.directory_path
    everything = {"STOCKADE_CACHE_DIR": "/a/b/", "XDG_CACHE_HOME": "/x", "HOME": "/h"}
    assert path(everything) == "/a/b"
    assert path({**everything, "STOCKADE_CACHE_DIR": ""}) == "/x/stockade"
    assert path({**everything, "STOCKADE_CACHE_DIR": "relative"}) == "/x/stockade"
    assert path({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == "/h/.cache/stockade"
    assert path({"HOME": "h"}) is None
    assert path({}) is None
    assert cache.directory_path() == path(os.environ)


@pytest.mark.parametrize("value", ["", "relative", "."])
def test_it_can_be_switched_off(policy: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(policy.parent)
    monkeypatch.setenv(cache_directory.VARIABLE, value)
    monkeypatch.setenv("HOME", str(policy.parent))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert loaded(policy) == loaded(policy) == expected(TEXT, policy)
    assert [each.name for each in policy.parent.iterdir()] == [policy.name]
    monkeypatch.delenv(cache_directory.VARIABLE)
    loaded(policy)
    made = policy.parent / ".cache" / "stockade"
    assert len(entries(made)) == 2
    assert [stat.S_IMODE(each.stat().st_mode) for each in (made, made.parent)] == [0o700] * 2


def a_file(path: Path) -> None:
    path.write_text("")


def a_link(path: Path) -> None:
    real = path.with_name("real")
    real.mkdir(0o700)
    path.symlink_to(real)


def a_directory(mode: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        path.chmod(mode)

    return make


UNUSABLE: dict[str, Callable[[Path], object]] = {
    "group may write": a_directory(0o770),
    "everybody may write": a_directory(0o777),
    "sticky": a_directory(0o1777),
    "file": a_file,
    "symbolic link": a_link,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "fifo": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_directory_that_others_could_change_is_not_used(directory: Path, policy: Path, kind: str) -> None:
    UNUSABLE[kind](directory)
    before = directory.lstat()
    assert loaded(policy) == loaded(policy) == expected(TEXT, policy)
    after = directory.lstat()
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)
    assert not directory.is_dir() or not entries(directory)


def test_a_trusted_directory_of_another_mode_is_used(directory: Path, policy: Path) -> None:
    directory.mkdir()
    directory.chmod(0o755)
    loaded(policy)
    assert len(entries(directory)) == 2


def test_entries_in_a_directory_that_became_writable_for_others_are_not_used(directory: Path, policy: Path) -> None:
    loaded(policy)
    directory.chmod(0o770)
    assert cache.load_text(policy) is None
    directory.chmod(0o700)
    assert cache.load_text(policy) is not None


@pytest.mark.needs_root
def test_the_directory_of_another_user_is_not_used(directory: Path, policy: Path) -> None:
    directory.mkdir(0o700)
    os.chown(directory, OTHER_UID, -1)
    assert loaded(policy) == expected(TEXT, policy)
    assert not entries(directory)


@pytest.mark.needs_root
def test_nothing_is_made_in_the_home_of_another_user(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = policy.parent / "home"
    home.mkdir(0o755)
    os.chown(home, OTHER_UID, -1)
    monkeypatch.delenv(cache_directory.VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(home))
    assert loaded(policy) == expected(TEXT, policy)
    assert not list(home.iterdir())


@pytest.mark.parametrize("missing", ["HOME", "its directory"])
def test_without_a_place_there_is_no_cache(policy: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (cache_directory.VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if missing != "HOME":
        monkeypatch.setenv("HOME", str(policy.parent / "no" / "home"))
    assert loaded(policy) == expected(TEXT, policy)
    assert [each.name for each in policy.parent.iterdir()] == [policy.name]


IN_A_NAMESPACE = """
    import os, subprocess, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    policy, kind = Path(sys.argv[2]), sys.argv[3]
    from stockade.policy.policy import Policy
    cache = policy.parent / "cache"
    cache.mkdir(0o700)
    os.environ["STOCKADE_CACHE_DIR"] = str(cache)
    options = {"full": "size=4k,nr_inodes=100", "no inodes": "nr_inodes=2", "read-only": "size=1m"}[kind]
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "none", cache], check=True)
    if kind == "full":
        (cache / "filler").write_bytes(b"x" * 4096)
    if kind == "read-only":
        subprocess.run(["mount", "-o", "remount,bind,ro", cache], check=True)
    if kind == "no inodes":
        (cache / "filler").touch()
    for _ in range(2):
        loaded = Policy.load(policy)
        assert loaded == Policy.from_text(policy.read_text())
        assert loaded.compile() == Policy.from_text(policy.read_text()).compile()
    print(*sorted(each.name for each in cache.iterdir()))
"""


@pytest.mark.parametrize(("kind", "left"), [("full", "filler"), ("no inodes", "filler"), ("read-only", "")])
def test_a_file_system_that_takes_nothing(policy: Path, kind: str, left: str) -> None:
    code = textwrap.dedent(IN_A_NAMESPACE)
    inside = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", code, EXECUTOR]
    done = subprocess.run([*inside, str(policy), kind], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == left.split()


# --- how much is kept ---


def save(directory: Path, number: int, length: int = 10, age: float = 0) -> str:
    """Write an entry that is `age` seconds old."""
    name = f"{number:064x}"
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        cache_directory.write(descriptor, name, b"x" * length)
    finally:
        os.close(descriptor)
    if age:
        os.utime(directory / name, (time.time() - age,) * 2)
    return name


def test_the_oldest_entries_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_directory, "MAX_FILES", 8)
    names = [save(tmp_path, number, age=1000 - number) for number in range(8)]
    assert len(entries(tmp_path)) == 8
    names.append(save(tmp_path, 8))
    assert [each.name for each in entries(tmp_path)] == names[3:]


def test_the_size_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_directory, "MAX_BYTES", 4000)
    names = [save(tmp_path, number, 1000, age=1000 - number) for number in range(4)]
    assert len(entries(tmp_path)) == 4
    names.append(save(tmp_path, 4, 1000))
    assert [each.name for each in entries(tmp_path)] == names[2:]
    monkeypatch.setattr(cache_directory, "MAX_FILE", 100)
    save(tmp_path, 99, 101)
    assert [each.name for each in entries(tmp_path)] == names[2:]


def test_only_files_of_the_cache_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_directory, "MAX_FILES", 0)
    abandoned, fresh = (tmp_path / f".{number:064x}.0123456789abcdef" for number in (1, 2))
    for path in (abandoned, fresh, tmp_path / "notes", tmp_path / "ABCDEF"):
        path.touch()
    os.utime(abandoned, (time.time() - 2 * cache_directory.ABANDONED_AFTER,) * 2)
    save(tmp_path, 1)
    assert {each.name for each in tmp_path.iterdir()} == {fresh.name, "notes", "ABCDEF"}


# --- several processes ---

BUSY = """
    import os, sys
    sys.path.insert(0, sys.argv[1])
    from stockade.policy.caching import directory as cache_directory
    from stockade.policy.caching import compiled
    from stockade.policy.policy import Policy
    cache_directory.MAX_FILES = 3
    policies = {path: Policy.from_text(open(path).read()) for path in sys.argv[2:]}
    programs = {path: policy.compile() for path, policy in policies.items()}
    for _ in range(25):
        for path, policy in policies.items():
            compiled.PROGRAMS.clear()
            loaded = Policy.load(path)
            assert loaded == policy and loaded.compile() == programs[path]
"""


def test_processes_do_not_disturb_one_another(directory: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.textproto" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_text(TEXT.replace("TCGETS", str(number)))
    command = [sys.executable, "-c", textwrap.dedent(BUSY), EXECUTOR, *map(str, paths)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for each in running:
        assert each.communicate()[1] == ""
        assert each.returncode == 0
    assert not [entry for entry in entries(directory) if entry.name.startswith(".")]
    assert len(entries(directory)) <= 3
