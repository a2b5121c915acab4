"""What the program logs arrives in a logger here: bounded, escaped, and without anybody waiting."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade import PIPE, Executor, Limits, Result, Status, forwarded_logs
from stockade._proto.lean_values import LogRecord
from stockade._proto.wire import encode
from stockade.forwarded_logs import LogRelay
from support.compiler import CCompiler
from support.library import ENVIRONMENT, client_policy, python
from support.runs import everything_builder, main_program, open_descriptors

HEAD = "import logging\nfrom stockade.client.logs import forward_logs\n"


class Collector(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[tuple[str, str, str]]:
        return [(record.name, record.levelname, record.getMessage()) for record in self.records]


@pytest.fixture
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    """A collector at a logger of its own, `box`."""
    logger, made = logging.getLogger("box"), Collector()
    logger.addHandler(made)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield made
    logger.removeHandler(made)


def run(script: str, **options: Any) -> Result:
    result = Executor(client_policy()).run(
        python(script), env=ENVIRONMENT, **{"forward_logs": logging.getLogger("box"), **options}
    )
    assert result.status is Status.OK, (result.report(), result.stderr)
    assert not result.stderr, result.stderr
    return result


def test_records_arrive_with_level_and_name(collector: Collector) -> None:
    script = """
forward_logs()
logging.getLogger().setLevel(logging.DEBUG)
logging.getLogger("part.one").debug("number %d of %s", 1, "five")
logging.warning("two")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("part").exception("three")
logging.getLogger("x").log(33, "100%% %s", "four")
logging.critical("five é")
"""
    run(HEAD + script)
    assert collector.lines[:2] == [
        ("box.part.one", "DEBUG", "number 1 of five"),
        ("box.root", "WARNING", "two"),
    ]
    assert collector.records[2].levelname == "ERROR"
    assert collector.records[2].getMessage().startswith("three\\nTraceback (most recent call last):\\n")
    assert "ZeroDivisionError" in collector.records[2].getMessage()
    assert collector.lines[3:] == [("box.x", "Level 33", "100% four"), ("box.root", "CRITICAL", "five é")]
    assert all(record.sandboxee > 0 for record in collector.records)  # type: ignore[attr-defined]


def test_by_default_the_logger_is_ours(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "stockade.sandboxee"):
        run(HEAD + "forward_logs(); logging.getLogger('a').warning('here')", forward_logs=True)
    assert [(record.name, record.message) for record in caplog.records] == [("stockade.sandboxee.a", "here")]


def test_a_logger_and_a_level_may_be_chosen_inside_and_outside(collector: Collector) -> None:
    script = """
logging.getLogger().addHandler(logging.NullHandler())
forward_logs(logging.getLogger("chosen"), logging.WARNING)
for name in ("chosen", "chosen.below", "other"):
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger(name).log(level, "x")
"""
    logging.getLogger("box").setLevel(logging.ERROR)
    run(HEAD + script)
    assert collector.lines == [("box.chosen", "ERROR", "x"), ("box.chosen.below", "ERROR", "x")]


def test_with_start_all_is_there_at_the_end(collector: Collector) -> None:
    before = open_descriptors()
    executor = Executor(client_policy())
    script = HEAD + "forward_logs()\nfor n in range(500): logging.error('line %d', n)"
    with executor.start(python(script), env=ENVIRONMENT, forward_logs=logging.getLogger("box")) as process:
        process.wait()
    assert [text for _, _, text in collector.lines] == [f"line {n}" for n in range(500)]
    assert {record.sandboxee for record in collector.records} == {process.pid}  # type: ignore[attr-defined]
    del process
    assert set(open_descriptors()) <= set(before)


def test_what_it_did_before_it_was_killed_arrives(collector: Collector) -> None:
    script = HEAD + "import os, time\nforward_logs(); logging.error('last words'); os.write(1, b'x'); time.sleep(1000)"
    executor = Executor(client_policy())
    with executor.start(python(script), env=ENVIRONMENT, stdout=PIPE, forward_logs=logging.getLogger("box")) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        process.kill()
    assert collector.lines == [("box.root", "ERROR", "last words")]


def test_threads_and_children_do_not_mix_their_records(collector: Collector) -> None:
    script = """
import os, threading
forward_logs()
def work(mark):
    for n in range(50):
        logging.error(mark * 1000)
children = []
for mark in "ab":
    if (pid := os.fork()) == 0:
        work(mark)
        os._exit(0)
    children.append(pid)
threads = [threading.Thread(target=work, args=(mark,)) for mark in "cd"]
[each.start() for each in threads]
[each.join() for each in threads]
[os.waitpid(pid, 0) for pid in children]
"""
    run(HEAD + script)
    texts = [text for name, _, text in collector.lines if name == "box.root"]
    assert texts
    assert all(text == text[0] * 1000 for text in texts)


def test_long_and_strange_texts_are_cut_and_escaped(collector: Collector) -> None:
    script = r"""
forward_logs()
logging.error("\x1b[31mred\r\nERROR:root:forged\u202e\udc80")
logging.error("x" * 100_000)
logging.error("é" * 100_000)
logging.error("\0" * 100_000)
logging.getLogger("a\nb" * 100).error("name")
"""
    run(HEAD + script)
    texts = [text for _, _, text in collector.lines]
    assert texts[0] == "\\x1b[31mred\\r\\nERROR:root:forged\\u202e\\\\udc80"
    assert texts[1] == "x" * 3900
    assert texts[2] == "é" * 1950
    assert len(texts[3]) == forwarded_logs.LONGEST_FRAME + 1
    assert collector.records[4].name == "box." + ("a?b" * 100)[:64]
    assert not [name for name in logging.Logger.manager.loggerDict if name.startswith("box.")]


def test_a_flood_holds_nobody_up_and_is_counted(collector: Collector) -> None:
    """The program is not slowed down, the run ends at once, what was dropped is counted."""
    script = """
forward_logs()
for n in range(30_000):
    logging.error("flood %d", n)
print("waits:", os.get_blocking(descriptors()["stockade.logs"]))
"""
    result = run("import os\nfrom stockade.client.named import descriptors\n" + HEAD + script)
    assert result.stdout == b"waits: False\n"
    texts = [text for _, _, text in collector.lines]
    floods = [text for text in texts if text.startswith("flood ")]
    assert floods[:1000] == [f"flood {n}" for n in range(1000)]
    elapsed = result.usage.wall_time
    assert len(floods) <= forwarded_logs.BURST * 2 + forwarded_logs.RATE * (elapsed + 5)
    assert len(floods) < 30_000
    assert any("came too fast and were dropped" in text for text in texts)


FLOOD = """
char *at = strstr(getenv("STOCKADE_FDS"), "stockade.logs=");
int log = atoi(at + 14);
fcntl(log, F_SETFL, 0);
static char frames[4096];
"""


def test_a_program_that_insists_on_flooding_waits_and_is_killed_in_time(
    compile_c: CCompiler, collector: Collector
) -> None:
    """It makes its writes wait, and ignores the rate: it holds up itself, neither its run nor us."""
    body = FLOOD + "for (int i = 0; i < 4096; i += 4) memcpy(frames + i, (char[]){2, 0, 0, 0}, 4);"
    body += "for (int i = 0; i + 6 <= 4096; i += 6) memcpy(frames + i, (char[]){2, 0, 0, 0, 8, 40}, 6);"
    body += "for (;;) write(log, frames, 4092);"
    program = main_program(compile_c, body)
    executor = Executor(everything_builder(program).build(), limits=Limits(wall_time=1))
    result = executor.run([program], forward_logs=logging.getLogger("box"))
    assert result.status is Status.TIMEOUT
    assert 0 < len(collector.lines) < 20_000
    assert collector.lines[-1][2].endswith("log records of the program came too fast and were dropped")


HOSTILE = {
    "no length": b"\0\0\0\0",
    "too long": (4093).to_bytes(4, "little") + bytes(5000),
    "four GiB": b"\xff\xff\xff\xff",
    "text": b"this is no log record at all",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_frame_ends_the_forwarding_with_one_warning(name: str, collector: Collector) -> None:
    good = frame(LogRecord(level=40, name="n", text="good"))
    assert relayed(good + HOSTILE[name] + good + HOSTILE[name]) == [
        "good",
        "the program sent something that is no log record; what follows is ignored",
    ]


def test_what_is_no_record_is_left_out_with_one_warning(collector: Collector) -> None:
    good, bad = frame(LogRecord(level=40, text="good")), (3).to_bytes(4, "little") + b"\xff\xff\xff"
    assert relayed(bad + good + bad + good) == [
        "the program sent something that is no log record; it is left out",
        "good",
        "good",
    ]


def test_levels_are_bounded(collector: Collector) -> None:
    relayed(b"".join(frame(LogRecord(level=level, text="x")) for level in (0, 1, 50, 51, 2**32 - 1)))
    assert [record.levelno for record in collector.records] == [50, 50, 50]  # DEBUG is what the logger is set to
    logging.getLogger("box").setLevel(1)
    relayed(frame(LogRecord(text="x")))
    assert collector.records[-1].levelno == 1


def frame(record: LogRecord) -> bytes:
    payload = encode(record)
    return len(payload).to_bytes(4, "little") + payload


def relayed(data: bytes) -> list[str]:
    """Hand bytes to a relay as a program would; the messages that came out."""
    logger = logging.getLogger("box")
    collectors = [handler for handler in logger.handlers if isinstance(handler, Collector)]
    reader, writer = os.pipe()
    relay = LogRelay(reader, logger)
    relay.follow(lambda: 1)
    for start in range(0, len(data), 60_000):
        os.write(writer, data[start : start + 60_000])
    os.close(writer)
    relay.finish()
    return [text for each in collectors for _, _, text in each.lines]


@given(st.binary(max_size=300))
def test_random_bytes_are_ignored(data: bytes) -> None:
    logger, made = logging.getLogger("box"), Collector()
    logger.addHandler(made)
    logger.propagate = False
    try:
        relayed(data)
    finally:
        logger.removeHandler(made)
    assert all(text.isprintable() for _, _, text in made.lines)


def test_a_run_that_logs_nothing_or_knows_nothing_of_it(compile_c: CCompiler, collector: Collector) -> None:
    program = main_program(compile_c, 'say("deaf");')
    result = Executor(everything_builder(program).build()).run([program], forward_logs=logging.getLogger("box"))
    assert (result.stdout, collector.lines) == (b"deaf", [])


def test_without_being_asked_the_client_says_so() -> None:
    script = """
from stockade.client.errors import ClientError
try:
    forward_logs()
except ClientError as error:
    print(error)
"""
    assert b"was not started with forward_logs" in run(HEAD + script, forward_logs=False).stdout


@pytest.mark.parametrize("wanted", ["name", 1, logging.NullHandler()])
def test_what_is_no_logger_is_refused(wanted: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"True or a logging\.Logger"):
        Executor(client_policy()).run(python("0"), forward_logs=wanted)


def test_a_handler_may_end_the_run(collector: Collector) -> None:
    """It runs in the thread that reads: ending the run there waits for nothing."""
    executor = Executor(client_policy())
    script = HEAD + "import time\nforward_logs(); logging.error('stop me'); time.sleep(1000)"

    class Stopper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert started.wait(30)
            process.close()

    started, stopper = threading.Event(), Stopper()
    logging.getLogger("box").addHandler(stopper)
    try:
        process = executor.start(python(script), env=ENVIRONMENT, forward_logs=logging.getLogger("box"))
        started.set()
        process.wait()
        process.close()
    finally:
        logging.getLogger("box").removeHandler(stopper)
    assert process.result.status is Status.EXTERNAL_KILL
    assert [text for _, _, text in collector.lines] == ["stop me"]
