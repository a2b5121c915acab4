"""CPython under policies/python3.textproto: the same output as without a sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.programs import Runner, outside, through_api

# Each works on data of its own and prints what it found.
SCRIPTS = {
    "text": "import json, re; print(json.dumps(re.findall('a+', 'baab aab')), 'ä'.encode())",
    "hashes": "import hashlib; print([hashlib.new(n, b'x').hexdigest() for n in ('sha256', 'blake2b', 'sha3_256')])",
    "compression": """
import bz2, gzip, lzma, zlib
print([len(m.decompress(m.compress(b'x' * 9999))) for m in (bz2, gzip, lzma, zlib)])
""",
    "numbers": """
import decimal, fractions, random, statistics
print(decimal.Decimal(1) / 3, fractions.Fraction(1, 3) * 3, random.Random(1).random(), statistics.mean([1, 2]))
""",
    "time": """
import datetime, time, zoneinfo
when = datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Paris'))
time.sleep(0.001)
print(when, when.astimezone(datetime.timezone.utc), time.localtime(0), time.monotonic() > 0, time.process_time() > 0)
""",
    "threads": """
import concurrent.futures, queue, threading
results = queue.Queue()
threads = [threading.Thread(target=lambda: results.put(sum(range(10_000)))) for _ in range(20)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
with concurrent.futures.ThreadPoolExecutor() as pool:
    print(list(pool.map(abs, range(-5, 0))), [results.get() for _ in threads])
""",
    "sqlite": """
import sqlite3
database = sqlite3.connect(':memory:')
database.execute('create table t (a)')
database.executemany('insert into t values (?)', [(n,) for n in range(9)])
print(database.execute('select sum(a) from t').fetchall())
""",
    "event_loop": """
import asyncio
async def main():
    await asyncio.to_thread(print, 'thread')
    return await asyncio.gather(*[asyncio.sleep(0.001, n) for n in range(5)])
print(asyncio.run(main()))
""",
    "native_code": "import ctypes; print(ctypes.CDLL(None).abs(-3)); bytearray(10**8)",
    "temporary_files": """
import os, pathlib, shutil, tempfile
with tempfile.TemporaryDirectory() as name:
    path = pathlib.Path(name, 'a')
    path.write_text('text')
    shutil.copy2(path, path.with_name('b'))
    path.with_name('b').rename(path.with_name('c'))
    print(sorted(os.listdir(name)), path.with_name('c').read_text(), os.stat(path).st_mode)
print(os.path.exists(name))
""",
    "signals": """
import queue, signal
woken = queue.SimpleQueue()
signal.signal(signal.SIGALRM, lambda *_: woken.put('alarm'))
signal.setitimer(signal.ITIMER_REAL, 0.001)
print(woken.get())
""",
    "imports": """
import argparse, ast, base64, calendar, collections, configparser, csv, ctypes, dataclasses, difflib, email, enum
import functools, heapq, html, http.client, inspect, io, itertools, locale, logging, multiprocessing, pickle, platform
import pprint, select, socket, ssl, struct, subprocess, tarfile, textwrap, tomllib, unittest, urllib.request, uuid
import xml.etree.ElementTree, zipfile
print('all', platform.system(), uuid.UUID(int=1))
""",
    "traceback": "def f(): return 1 / 0\nf()",
    "exit_status": "import sys; sys.exit(7)",
    "interrupt": "raise KeyboardInterrupt",
    "abort": "import os; os.abort()",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_from_the_command_line(name: str) -> None:
    argv = ["python3", "-c", SCRIPTS[name]]
    assert through_api("python3", argv) == outside(argv)


@pytest.mark.parametrize("name", ["text", "hashes", "traceback", "exit_status", "interrupt"])
def test_scripts_from_standard_input(run: Runner, name: str) -> None:
    script = SCRIPTS[name].encode()
    expected = outside(["python3", "-"], input=script)
    found = run("python3", ["python3", "-"], input=script)
    assert (found.stdout, found.stderr) == (expected.stdout, expected.stderr)
    # A shell cannot say "signal 2": the command line returns 128 + 2.
    assert found.status in (expected.status, 128 - expected.status)


@pytest.mark.parametrize(
    "arguments",
    [
        ["script.py", "a", "b"],
        ["-m", "package", "x"],
        ["-m", "json.tool", "data.json"],
        ["-I", "-B", "script.py"],
        ["missing.py"],
        ["-V"],
    ],
    ids=" ".join,
)
def test_scripts_and_modules_of_a_directory(run: Runner, public_tmp: Path, arguments: list[str]) -> None:
    (public_tmp / "script.py").write_text("import os, sys; print(sys.argv, os.getcwd(), sorted(os.listdir('.')))")
    (public_tmp / "data.json").write_text('{"a": [1, 2]}')
    (public_tmp / "package").mkdir()
    (public_tmp / "package" / "__main__.py").write_text("import sys; print(sys.argv[1:], __package__)")
    found = run("python3", ["python3", *arguments], directory=public_tmp)
    assert found == outside(["python3", *arguments], directory=public_tmp)


def test_results_are_written_to_a_directory_that_is_mounted_for_it(run: Runner, public_tmp: Path) -> None:
    script = "open('out', 'w').write('kept'); open('/tmp/lost', 'w').write('not kept')"
    assert run("python3", ["python3", "-c", script], directory=public_tmp).status == 0
    assert (public_tmp / "out").read_text() == "kept"
    assert not Path("/tmp/lost").exists()


def test_the_host_s_packages_are_not_there() -> None:
    script = "import sys; print([path for path in sys.path if 'dist-packages' in path or 'site-packages' in path])"
    assert through_api("python3", ["python3", "-c", script]).stdout == b"[]\n"
    assert outside(["python3", "-c", script]).stdout != b"[]\n"
