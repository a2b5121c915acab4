"""sqlite3 under policies/sqlite3.textproto: the same answers and databases as without a sandbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from support.programs import PROBE, Done, Runner, outside, through_api
from support.twins import Twins

# Without HOME, sqlite3 would look the user up, and find nobody in the box.
HOME = {"HOME": "/nonexistent"}
NUMBERS = "with recursive n(i) as (select 1 union all select i + 1 from n where i < {})"


@pytest.fixture
def twins(public_tmp: Path) -> Twins:
    return Twins("sqlite3", public_tmp, lambda directory: (directory / "in.csv").write_text("a,b\n1,x\n2,ä\n"), HOME)


@pytest.mark.parametrize(
    ("arguments", "script"),
    [
        ([], "create table t (a, b); insert into t values (1, 'x'), (2.5, null); select * from t; .dump"),
        (["-json"], "select 1 as a, 'ä' as b, x'00ff' as c;"),
        (["-header", "-csv"], "select 1 as a, 'x,y' as b;"),
        (["-box"], ".explain on\nselect 1 as a, 'two' as b;"),
        ([":memory:"], f"{NUMBERS.format(100_000)} select count(*), sum(i) from n;"),
        ([], "select json_extract('[1, {\"a\": 2}]', '$[1].a'), upper('x'), round(2.567, 1), date(0, 'unixepoch');"),
        ([], "select datetime(1700000000, 'unixepoch', 'localtime');"),
        ([], "select this is wrong;"),
        (["-bail"], "select 1/0; select nothing; select 3;"),
        (["-interactive"], "select 1;"),
    ],
)
def test_scripts_from_standard_input(arguments: list[str], script: str) -> None:
    argv = ["sqlite3", *arguments]
    found = through_api("sqlite3", argv, input=script.encode(), env=HOME)
    assert found == outside(argv, input=script.encode(), env=HOME)


# Each list works on the databases of one directory, one run after the other.
SEQUENCES = {
    "journals": [
        ["a.db", "create table t (a, b); insert into t values (1, 2), (3, 4)"],
        ["a.db", "pragma journal_mode = wal; insert into t values (5, 6); select count(*) from t"],
        ["-readonly", "a.db", "select * from t"],
        ["a.db", "pragma mmap_size = 100000000; select sum(a) from t"],
        ["a.db", "pragma journal_mode = truncate; insert into t values (7, 8)"],
        ["a.db", "pragma journal_mode = persist; insert into t values (7, 8)"],
        ["a.db", "pragma locking_mode = exclusive; pragma synchronous = extra; delete from t where a = 7"],
        ["-vfs", "unix-excl", "a.db", "pragma journal_mode = wal; select count(*) from t"],
        ["-vfs", "unix-dotfile", "b.db", "create table t (a); select count(*) from t"],
        ["file:a.db?mode=ro&immutable=1", "select * from t"],
    ],
    "transactions": [
        ["a.db", "create table t (a unique)"],
        ["a.db", "begin; insert into t values (1); rollback; select count(*) from t"],
        ["a.db", "begin; insert into t values (1); savepoint s; insert into t values (2); rollback to s; commit"],
        ["a.db", "insert into t values (1)"],
        ["a.db", "attach 'b.db' as b; begin; create table b.t (a); insert into t values (9); commit"],
        ["b.db", ".schema", "select count(*) from t"],
    ],
    "files": [
        ["a.db", ".mode csv", ".import in.csv t", "select * from t"],
        ["a.db", ".output out.json", ".mode json", "select * from t"],
        ["a.db", ".once out.sql", ".dump"],
        ["b.db", ".read out.sql", "select count(*) from t"],
        ["a.db", ".backup c.db", ".clone d.db", "vacuum into 'e.db'", "vacuum"],
        ["c.db", ".restore e.db", "pragma integrity_check", ".sha3sum"],
        ["a.db", "select writefile('made', 'text'), readfile('in.csv'), count(*) from fsdir('.')"],
        ["-A", "-cf", "archive.sqlar", "in.csv", "out.sql"],
        ["-A", "-tf", "archive.sqlar"],
        ["-A", "-C", "extracted/deep", "-xf", "archive.sqlar"],
        ["missing/a.db", "select 1"],
    ],
    "large": [
        ["a.db", f"create table t as {NUMBERS.format(50_000)} select i, i * 7919 % 50021 r from n"],
        ["a.db", "pragma threads = 3; pragma cache_size = 50; create index r on t (r); select count(*) from t"],
        [
            "a.db",
            "pragma temp_store = file; pragma cache_size = 5; select max(i) from (select i from t order by i % 13)",
        ],
        ["a.db", "delete from t where i % 2; vacuum; pragma page_count"],
        ["a.db", ".changes on", ".timeout 100", ".tables", ".schema"],
    ],
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_databases_in_a_directory(twins: Twins, name: str) -> None:
    statuses = [twins.run(["sqlite3", *arguments]).status for arguments in SEQUENCES[name]]
    expected = {"transactions": [0, 0, 0, 19, 0, 0], "files": [*[0] * 10, 1]}.get(name, [0] * len(statuses))
    assert statuses == expected
    for path in twins.boxed.glob("*.db"):
        dump = [outside(["sqlite3", path.name, ".dump"], directory=side) for side in (twins.boxed, twins.free)]
        assert dump[0] == dump[1]
        assert dump[0].status == 0


def test_both_ways_to_run(run: Runner, public_tmp: Path) -> None:
    script = ["sqlite3", "a.db", "create table t (a); insert into t values (7); pragma journal_mode = wal"]
    assert run("sqlite3", script, directory=public_tmp, env=HOME) == Done(0, b"wal\n", b"")
    assert sqlite3.connect(public_tmp / "a.db").execute("select a from t").fetchall() == [(7,)]


def test_locks_hold_between_the_box_and_the_host(public_tmp: Path) -> None:
    host = sqlite3.connect(public_tmp / "a.db", isolation_level=None)
    host.execute("create table t (a)")
    host.execute("begin exclusive")
    argv = ["sqlite3", "a.db", ".timeout 20", "insert into t values (1)"]
    found = through_api("sqlite3", argv, directory=public_tmp, env=HOME)
    assert (found.status, found.stderr) == (5, b"Error: in prepare, database is locked (5)\n")
    host.execute("commit")
    assert through_api("sqlite3", argv, directory=public_tmp, env=HOME) == Done(0, b"", b"")
    assert host.execute("select a from t").fetchall() == [(1,)]
    host.close()


def test_a_look_up_of_the_user_is_answered_and_not_a_violation() -> None:
    found = through_api("sqlite3", ["sqlite3", ":memory:", "select 1"])
    assert (found.status, found.stdout) == (0, b"1\n")
    assert b"cannot find home directory" in found.stderr


# --- what it may not do ---

COMMANDS = {
    ".shell": ([".shell echo a shell"], "clone"),
    ".system": ([".system echo a shell"], "clone"),
    "pipe out": ([".once '|cat'", "select 'a shell'"], "pipe2"),
    "pipe in": ([".import '|echo a; echo a shell' t", "select * from t"], "pipe2"),
    "edit": (["select edit('a shell', 'cat')"], "clone"),
}


@pytest.mark.parametrize("attempt", COMMANDS)
def test_other_programs_end_the_run(public_tmp: Path, attempt: str) -> None:
    commands, call = COMMANDS[attempt]
    argv = ["sqlite3", ":memory:", *commands]
    assert b"a shell" in outside(argv, directory=public_tmp, env=HOME).stdout
    found = through_api("sqlite3", argv, directory=public_tmp, env=HOME)
    assert (found.status, found.stdout, found.refused) == (-31, b"", call)


def test_through_the_command_line_as_well(run: Runner) -> None:
    found = run("sqlite3", ["sqlite3", ":memory:", ".shell echo a shell"], env=HOME)
    assert (found.status, found.stdout, found.refused) == (-31, b"", "clone")


EXTENSION = '#include <unistd.h>\n__attribute__((constructor)) static void f(void) { write(1, "loaded\\n", 7); }\n'


def test_what_was_written_cannot_be_loaded(public_tmp: Path, compile_c: Callable[..., Path]) -> None:
    library = compile_c(EXTENSION, static=False, name="extension.so", options=("-shared", "-fPIC"))
    (public_tmp / "own.so").write_bytes(library.read_bytes())
    argv = ["sqlite3", ":memory:", ".load ./own"]
    assert outside(argv, directory=public_tmp, env=HOME).stdout == b"loaded\n"
    found = through_api("sqlite3", argv, directory=public_tmp, env=HOME)
    assert (found.status, found.stdout) == (1, b"")
    assert b"failed to map segment" in found.stderr


def test_files_of_the_host_are_not_there(public_tmp: Path) -> None:
    argv = ["sqlite3", ":memory:", "select readfile('/etc/passwd') is not null"]
    assert outside(argv, env=HOME).stdout == b"1\n"
    assert through_api("sqlite3", argv, env=HOME).stdout == b"0\n"
    (public_tmp / "work").mkdir()
    (public_tmp / "secret").write_text("secret")
    argv = ["sqlite3", ":memory:", "select readfile('../secret')"]
    assert outside(argv, directory=public_tmp / "work", env=HOME).stdout == b"secret\n"
    assert through_api("sqlite3", argv, directory=public_tmp / "work", env=HOME).stdout == b"\n"


@pytest.mark.parametrize(
    "command", ["attach '../x.db' as x; create table x.t (a)", ".backup ../x.db", ".output ../x.db"]
)
def test_what_is_written_elsewhere_does_not_reach_the_host(public_tmp: Path, command: str) -> None:
    work = public_tmp / "work"
    work.mkdir()
    argv = ["sqlite3", "a.db", "create table t (a)", command, "select 1"]
    through_api("sqlite3", argv, directory=work, env=HOME)
    assert {path.name for path in public_tmp.iterdir()} == {"work"}
    (work / "a.db").unlink()
    outside(argv, directory=work, env=HOME)
    assert {path.name for path in public_tmp.iterdir()} == {"work", "x.db"}


@pytest.mark.parametrize("place", ["", "/usr/bin", "/etc"])
def test_nothing_of_the_box_is_writable_but_tmp(place: str) -> None:
    argv = ["sqlite3", f"{place}/x.db", "create table t (a)"]
    assert through_api("sqlite3", argv, env=HOME).status == 1
    assert through_api("sqlite3", [argv[0], "/tmp/x.db", argv[2]], env=HOME) == Done(0, b"", b"")


def test_a_database_that_is_shown_read_only_stays_as_it_is(public_tmp: Path) -> None:
    database = public_tmp / "a.db"
    assert outside(["sqlite3", str(database), "create table t (a)"], env=HOME).status == 0
    argv = ["sqlite3", str(database), "insert into t values (1)"]
    before = database.read_bytes()
    found = through_api("sqlite3", argv, show=database, env=HOME)
    assert (found.status, found.stderr) == (8, b"Error: stepping, attempt to write a readonly database (8)\n")
    assert database.read_bytes() == before
    assert outside(argv, env=HOME).status == 0
    assert database.read_bytes() != before


@pytest.mark.parametrize("attempt", ["socket", "ptrace", "unshare"])
def test_a_program_under_the_rules_of_sqlite3_is_killed(compile_c: Callable[..., Path], attempt: str) -> None:
    probe = compile_c(PROBE, name="probe")
    assert outside([str(probe), attempt]).status == 0
    found = through_api("sqlite3", [str(probe), attempt], show=probe)
    assert (found.status, found.refused) == (-31, attempt)
