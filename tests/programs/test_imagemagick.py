"""ImageMagick under policies/imagemagick.textproto: the same pictures as without a sandbox, and no delegates."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stockade import Executor, Policy
from stockade._proto import policy_pb2
from support.programs import POLICIES, PROBE, Done, Runner, outside, through_api

# A format that a configuration of one's own knows, and the command that it names.
DELEGATES = """<delegatemap>
  <delegate decode="made-up" command="echo a shell; /usr/bin/convert rose: '%o'"/>
</delegatemap>
"""
MADE_UP = ["convert", "picture.made-up", "info:-"]
DRAWING = "push graphic-context\nviewbox 0 0 70 46\nimage over 0,0 0,0 '{picture}'\npop graphic-context\n"


@pytest.fixture(scope="module")
def pictures(session_directory: Path) -> Mapping[str, bytes]:
    """Pictures in several formats, all without a sandbox."""
    made = {}
    for kind in ("png", "jpg", "gif", "webp", "tiff", "bmp"):
        done = outside(["convert", "rose:", "-strip", f"{kind}:-"])
        assert done.status == 0
        made[f"rose.{kind}"] = done.stdout
    return made


@pytest.fixture
def directory(public_tmp: Path, pictures: Mapping[str, bytes]) -> Path:
    """A directory with these pictures, and with what only looks like one."""
    for name, data in pictures.items():
        (public_tmp / name).write_bytes(data)
    (public_tmp / "broken.png").write_bytes(pictures["rose.png"][:900])
    (public_tmp / "text.png").write_text("no picture at all")
    return public_tmp


def _take(directory: Path, name: str) -> bytes:
    data = (directory / name).read_bytes()
    (directory / name).unlink()
    return data


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (["rose.png", "-quality", "80", "out.jpg"], "out.jpg"),
        (["rose.jpg", "-strip", "out.webp"], "out.webp"),
        (["rose.webp", "-compress", "lzw", "out.tiff"], "out.tiff"),
        (["rose.tiff", "-colors", "16", "out.gif"], "out.gif"),
        (["rose.gif", "out.bmp"], "out.bmp"),
        (["rose.bmp", "-define", "icon:auto-resize=32,16", "out.ico"], "out.ico"),
        (["rose.png", "-resize", "50%", "-rotate", "30", "-blur", "0x2", "out.ppm"], "out.ppm"),
        (["rose.png", "-colorspace", "Gray", "-crop", "20x20+5+5", "+repage", "out.pgm"], "out.pgm"),
        (["rose.png", "rose.jpg", "+append", "-threshold", "50%", "out.xbm"], "out.xbm"),
        (["rose.png", "(", "+clone", "-flop", ")", "-append", "out.tga"], "out.tga"),
        (["-size", "90x40", "gradient:red-blue", "-fill", "white", "-draw", "circle 20,20 20,5", "out.ppm"], "out.ppm"),
        (["-size", "90x30", "-background", "white", "-font", "DejaVu-Sans", "label:Text", "out.ppm"], "out.ppm"),
        (["rose.png", "-font", "DejaVu-Sans", "-annotate", "+5+20", "Text", "out.ppm"], "out.ppm"),
        (["-delay", "10", "rose.png", "rose.jpg", "-loop", "0", "out.gif"], "out.gif"),
        # With a second thread, where there are two processors.
        (["rose.png", "-fft", "-delete", "1", "out.ppm"], "out.ppm"),
        # More than it may keep in memory: the pixels go to a file, mapped or not.
        (["-limit", "memory", "64KiB", "-limit", "map", "8MiB", "rose.png", "-resize", "300x", "out.ppm"], "out.ppm"),
        (["-limit", "memory", "0", "-limit", "map", "0", "rose.png", "-resize", "300x", "out.ppm"], "out.ppm"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_pictures_are_converted(directory: Path, arguments: list[str], result: str) -> None:
    argv = ["convert", *arguments]
    assert outside(argv, directory=directory) == Done(0, b"", b"")
    expected = _take(directory, result)
    assert through_api("imagemagick", argv, directory=directory) == Done(0, b"", b"")
    assert _take(directory, result) == expected


@pytest.mark.parametrize(
    "argv",
    [
        ["identify", "rose.png", "rose.jpg", "rose.gif", "rose.webp", "rose.tiff", "rose.bmp"],
        ["identify", "-format", "%m %w %h %[colorspace] %k\\n", "rose.webp"],
        ["convert", "rose.png", "txt:-"],
        ["convert", "rose.png", "-format", "%c", "histogram:info:-"],
        ["compare", "-metric", "AE", "rose.png", "rose.bmp", "null:"],
        ["compare", "-metric", "RMSE", "rose.png", "rose.jpg", "null:"],
        ["identify", "broken.png"],
        ["identify", "text.png"],
        ["convert", "missing.png", "out.png"],
        ["convert", "rose.png", "-no-such-option", "out.png"],
        ["convert", "-version"],
        ["identify", "-list", "policy"],
        ["convert", "-list", "font"],
    ],
    ids=" ".join,
)
def test_what_is_said(directory: Path, argv: list[str]) -> None:
    found, expected = through_api("imagemagick", argv, directory=directory), outside(argv, directory=directory)
    if "-list" in argv or "broken.png" in argv:
        # Lists name caches by address.
        assert (found.status, found.stdout) == (expected.status, expected.stdout)
    else:
        assert (found.status, untimed(found.stdout), found.stderr) == (
            expected.status,
            untimed(expected.stdout),
            expected.stderr,
        )


def untimed(output: bytes) -> bytes:
    """Take the times out of what identify says: "0.010u 0:00.001"."""
    return re.sub(rb"\d+\.\d+u \d+:\d+\.\d+", b"", output)


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff"])
def test_standard_input_to_standard_output(run: Runner, pictures: Mapping[str, bytes], kind: str) -> None:
    argv = ["convert", f"{kind}:-", "-resize", "40x", "ppm:-"]
    data = pictures[f"rose.{kind}"]
    assert run("imagemagick", argv, input=data) == outside(argv, input=data)


def test_pictures_are_changed_in_place(run: Runner, directory: Path, pictures: Mapping[str, bytes]) -> None:
    argv = ["mogrify", "-resize", "35x", "-format", "ppm", "rose.png", "rose.jpg"]
    expected = []
    for runner in (outside, lambda argv, **options: run("imagemagick", argv, **options)):
        assert runner(argv, directory=directory) == Done(0, b"", b"")
        assert runner(["mogrify", "-flip", "rose.bmp"], directory=directory) == Done(0, b"", b"")
        expected.append([_take(directory, name) for name in ("rose.ppm", "rose.bmp")])
        (directory / "rose.bmp").write_bytes(pictures["rose.bmp"])
    assert expected[0] == expected[1]


def test_a_montage_and_a_composition(directory: Path) -> None:
    for argv in (
        [
            "montage",
            "rose.png",
            "rose.jpg",
            "-font",
            "DejaVu-Sans",
            "-label",
            "%f",
            "-geometry",
            "40x40+2+2",
            "out.ppm",
        ],
        ["composite", "-gravity", "center", "rose.gif", "rose.png", "out.ppm"],
    ):
        assert outside(argv, directory=directory) == Done(0, b"", b"")
        expected = _take(directory, "out.ppm")
        assert through_api("imagemagick", argv, directory=directory) == Done(0, b"", b"")
        assert _take(directory, "out.ppm") == expected


# --- beyond the policy ---


@pytest.fixture
def configured(session_directory: Path) -> Path:
    """A directory with a configuration of delegates that run commands."""
    directory = session_directory / "delegates"
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    (directory / "delegates.xml").write_text(DELEGATES)
    return directory


def _convert_made_up(directory: Path, configured: Path, *groups: str) -> Done:
    """Convert a picture of the made-up format in a box, with more groups of rules than those of the policy."""
    message = Policy.load(POLICIES / "imagemagick.textproto").message
    for group in groups:
        message.syscalls.groups.add(name=group)
    bind = policy_pb2.Bind
    for path, writable in ((configured, False), (directory, True)):
        source = bind(source=str(path), kind=bind.DIRECTORY, writable=writable)
        message.filesystem.mounts.add(target=str(path), bind=source)
    result = Executor(Policy.from_message(message)).run(MADE_UP, cwd=directory, env=_environment(configured))
    return Done(result.returncode, result.stdout, b"", result.violations[0].syscall if result.violations else "")


def _environment(configured: Path) -> Mapping[str, str]:
    return {"MAGICK_CONFIGURE_PATH": str(configured), "PATH": "/usr/bin:/bin"}


def test_a_delegate_is_not_run(directory: Path, configured: Path) -> None:
    (directory / "picture.made-up").write_text("anything")
    expected = outside(MADE_UP, directory=directory, env=_environment(configured))
    assert (expected.status, expected.stdout[:8]) == (0, b"a shell\n")
    found = _convert_made_up(directory, configured)
    assert (found.status, found.stdout) == (-31, b"")
    assert found.refused in {"symlink", "symlinkat"}
    # Nor does it start when it gets as far as that.
    found = _convert_made_up(directory, configured, "symlink")
    assert (found.status, found.stdout) == (-31, b"")
    assert found.refused in {"clone", "vfork", "fork"}


def test_a_drawing_does_not_read_other_pictures(run: Runner, directory: Path) -> None:
    (directory / "drawing.mvg").write_text(DRAWING.format(picture=directory / "rose.png"))
    argv = ["convert", "-size", "70x46", "mvg:drawing.mvg", "ppm:-"]
    assert b"P6\n70 46\n" in outside(argv, directory=directory).stdout
    found = run("imagemagick", argv, directory=directory)
    assert (found.status, found.stdout) == (1, b"")
    assert b"no decode delegate for this image format `MVG'" in found.stderr


def test_formats_that_are_not_listed_are_neither_read_nor_written(directory: Path) -> None:
    written, read = ["convert", "rose.png", "out.pcx"], ["identify", "out.pcx"]
    assert outside(written, directory=directory) == Done(0, b"", b"")
    assert outside(read, directory=directory).stdout.startswith(b"out.pcx PCX 70x46 ")
    found = through_api("imagemagick", read, directory=directory)
    assert (found.status, found.stdout) == (1, b"")
    assert b"no decode delegate for this image format `PCX'" in found.stderr
    # It writes the format of what it read then, as without a sandbox when it lacks a module.
    assert through_api("imagemagick", written, directory=directory) == Done(0, b"", b"")
    assert _take(directory, "out.pcx").startswith(b"\x89PNG")


def test_pictures_elsewhere_are_neither_read_nor_written(
    run: Runner, directory: Path, session_directory: Path, pictures: Mapping[str, bytes]
) -> None:
    elsewhere = session_directory / "elsewhere.png"
    elsewhere.write_bytes(pictures["rose.png"])
    assert outside(["identify", str(elsewhere)]).status == 0
    found = run("imagemagick", ["identify", str(elsewhere)], directory=directory)
    assert (found.status, found.stdout) == (1, b"")
    assert b"No such file or directory" in found.stderr
    target = session_directory / "made-elsewhere.png"
    argv = ["convert", "rose.png", str(target)]
    assert outside(argv, directory=directory) == Done(0, b"", b"")
    target.unlink()
    # The directory lies in /tmp, and the box has a /tmp of its own.
    assert run("imagemagick", argv, directory=directory) == Done(0, b"", b"")
    assert not target.exists()


@pytest.mark.parametrize(("attempt", "call"), [("socket", "socket"), ("shell", "execve")])
def test_a_program_under_its_rules_is_killed(compile_c: Callable[..., Path], attempt: str, call: str) -> None:
    probe = compile_c(PROBE, name="probe")
    assert outside([str(probe), attempt]).status == 0
    assert through_api("imagemagick", [str(probe), attempt], show=probe) == Done(-31, b"", b"", call)
    assert through_api("imagemagick", [str(probe), "open", "/etc/passwd"], show=probe) == Done(errno.ENOENT, b"", b"")
