"""perl under policies/perl.textproto: the same output and files as without a sandbox; no processes, no sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stockade.kernel.architectures import native
from support.listener import Listener
from support.programs import PROBE, Done, Runner, outside, through_api
from support.twins import Twins

# Each works on data of its own and prints what it found.
SCRIPTS = {
    "text": r"""
print join(',', 'a1b22' =~ /(\d+)/g), ' ', sprintf('%05.2f %s', 3.14159, lc 'ABC'), "\n";
print sort qw(c a b);
""",
    "lists": """
use List::Util qw(sum max first shuffle uniq); print sum(1..10), max(3, 9), first { $_ > 2 } 1..5;
""",
    "posix": """
use POSIX;
print floor(3.7), strftime('%F', gmtime 0), (POSIX::uname())[0], POSIX::LONG_MAX, fmod(7, 3);
""",
    "json": """
use JSON::PP;
print JSON::PP->new->canonical->encode({b => [1, undef], a => decode_json('{"x":1}')});
""",
    "encodings": r"""
use Encode; print length encode('UTF-16', decode('UTF-8', "\xc3\xa4")), decode('shiftjis', 'ab');
""",
    "unicode": r"""
use Unicode::Normalize; use charnames ':full';
print length NFD("\N{LATIN SMALL LETTER A WITH DIAERESIS}");
""",
    "digests": """
use Digest::SHA 'sha256_hex'; use Digest::MD5 'md5_hex'; use MIME::Base64;
print sha256_hex(1), md5_hex(1);
""",
    "compression": r"""
use Compress::Zlib; use IO::Compress::Bzip2 'bzip2'; bzip2 \('x' x 9), \$b;
print length $b, uncompress(compress('y' x 9));
""",
    "numbers": """
use Math::BigInt; use Math::BigFloat; print Math::BigInt->new(2) ** 100, Math::BigFloat->bpi(40);
""",
    "data": """
use Data::Dumper; use Storable 'dclone'; $Data::Dumper::Sortkeys = 1;
print Dumper(dclone({a => [1], b => 2}));
""",
    "time": """
use Time::Local; use Time::Piece;
print timegm(0, 0, 0, 1, 0, 100), ' ', gmtime(0)->ymd, ' ', scalar localtime 0;
use Time::HiRes qw(usleep clock_gettime); usleep 10; print clock_gettime(1) > 0, scalar(@{[times]});
""",
    "threads": """
use threads; use Thread::Queue; my $q = Thread::Queue->new; my @t = map { my $n = $_;
async { $q->enqueue($n); $n * 2 } } 1..5; print map { $_->join } @t; print $q->pending;
""",
    "signals": """
use Time::HiRes 'ualarm'; $SIG{ALRM} = sub { $rung = print 'alarm' }; ualarm 100;
select undef, undef, undef, 0.01 until $rung; $SIG{USR1} = sub { print 'usr1' }; kill 'USR1', $$;
local $SIG{__WARN__} = sub { print 'warned' }; warn;
""",
    "files in /tmp": r"""
use File::Temp qw(tempdir); use File::Copy; use File::Path qw(make_path);
my $d = tempdir(CLEANUP => 1); make_path("$d/a/b"); open F, '>', "$d/f"; print F 'text'; close F;
copy("$d/f", "$d/a/g"); print -s "$d/a/g"; symlink 'f', "$d/l"; print readlink "$d/l";
rename "$d/f", "$d/h"; print map { s/.*\///r } sort glob "$d/*";
""",
    "descriptors": r"""
pipe R, W; syswrite W, 'ab'; sysread R, $x, 2; print $x; open my $o, '>&', \*STDOUT; print $o 'dup';
close $o; open my $m, '<', \'in memory'; print <$m>; print -t STDIN ? 1 : 0; umask 022;
printf '%o', umask;
""",
    "identity": """
print scalar(@{[getpwnam('nobody-at-all')]}), $0; $0 = 'renamed';
print $0, getppid > 0, getpgrp > 0;
""",
    "safe": "use Safe; print Safe->new->reval('6 * 7')",
    "modules": """
use strict; use warnings; use Getopt::Long; use File::Find; use File::Spec; use Text::Wrap;
use Text::ParseWords; use Term::ANSIColor; use HTTP::Tiny; use IO::Select; use IO::Socket;
use Tie::File; use Test::More; use Benchmark; use Archive::Tar; use Pod::Text; use Sys::Hostname;
use Scalar::Util 'blessed'; use Hash::Util; use IPC::Open3; print 'all';
""",
    "memory": "my $x = 'a' x 5e7; my @a = (1) x 2e5; print length $x, scalar @a",
    "deep": "no warnings; sub f { $_[0] ? f($_[0] - 1) : 'end' } print f(20000)",
    "death": r"""
die "dead\n"
""",
    "exit": "exit 7",
    "syntax": "this is not perl (",
    "abort": "use POSIX; $| = 1; print 'before'; POSIX::abort()",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_from_the_command_line(name: str) -> None:
    argv = ["perl", "-e", SCRIPTS[name]]
    found = through_api("perl", argv)
    assert found == outside(argv)
    assert found.status == {"death": 255, "exit": 7, "syntax": 255, "abort": -6}.get(name, 0)


@pytest.mark.parametrize("name", ["text", "threads", "death"])
def test_scripts_from_standard_input(run: Runner, name: str) -> None:
    script = SCRIPTS[name].encode()
    assert run("perl", ["perl", "-"], input=script) == outside(["perl", "-"], input=script)


def _texts(directory: Path) -> None:
    (directory / "text").write_text("one 1\ntwo 2\nthree 3\n")
    (directory / "other").write_text("vier 4\n")
    (directory / "script.pl").write_text('use lib "."; use Own; print Own::twice(21), " @ARGV $0\\n"; print <STDIN>;\n')
    (directory / "Own.pm").write_text("package Own; sub twice { 2 * shift } 1;\n")
    (directory / "other").chmod(0o640)


@pytest.fixture
def twins(public_tmp: Path) -> Twins:
    return Twins("perl", public_tmp, _texts)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-ne", "print if /o/", "text", "other"],
        ["-pe", "s/(\\w+) (\\d)/$2 $1/", "text"],
        ["-lane", "print $F[1]", "text"],
        ["-00", "-F:", "-E", "say $#F", "text"],
        ["-i", "-pe", "tr/a-z/A-Z/", "text", "other"],
        ["-i.bak", "-ne", "print unless $. == 2", "text"],
        ["script.pl", "a", "b"],
        ["-c", "script.pl"],
        ["-T", "-w", "-e", "print ${^TAINT}"],
        ["-v"],
        ["-MO=Deparse", "-e", "print 1+1 if $x"],
        ["-MFile::Find", "-e", "find({no_chdir => 1, wanted => sub { push @f, $_ }}, '.'); print sort @f"],
        ["-MTie::File", "-e", "tie @l, 'Tie::File', 'text'; $l[1] = 'changed'; print scalar @l"],
        ["-MSDBM_File", "-MFcntl", "-e", "tie %h, 'SDBM_File', 'd', O_RDWR|O_CREAT, 0644; $h{a} = 1; print $h{a}"],
        ["-MArchive::Tar", "-e", "Archive::Tar->create_archive('a.tar', 0, 'other'); print -e 'a.tar'"],
        [
            "-e",
            "open F, '+<', 'text'; flock F, 2; seek F, 0, 2; print F 'end'; truncate F, 9; close F; print -s 'text'",
        ],
        ["-e", "mkdir 'd', 0750; link 'text', 'd/hard'; symlink 'text', 's'; unlink 'other'; chdir 'd'; print <*>"],
        ["missing.pl"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_files_of_a_directory(twins: Twins, arguments: list[str]) -> None:
    twins.run(["perl", *arguments], input=b"input\n")
    for directory in (twins.boxed, twins.free):
        (directory / "a.tar").unlink(missing_ok=True)  # the owner is in it
    twins.assert_equal_files()


# --- what it may not do ---

_PTRACE, _UNSHARE, _MMAP = (native().number(name) for name in ("ptrace", "unshare", "mmap"))
# Each prints something that begins with "a " without a sandbox.
BEYOND = {
    "system": ("$| = 1; system 'echo a shell'", {"clone", "vfork", "fork"}),
    "backticks": ("print `echo a shell`", {"clone", "vfork", "fork", "pipe2"}),
    "pipe": ("open P, 'echo a shell|' or die; print <P>", {"clone", "vfork", "fork"}),
    "exec": ("exec '/bin/echo', 'a program'", {"execve"}),
    "fork": ("defined(my $p = fork) or die; exit if !$p; print 'a child'", {"clone", "fork"}),
    "inet socket": ("use Socket; socket(S, PF_INET, SOCK_STREAM, 0) or die; print 'a socket'", {"socket"}),
    "unix socket": ("use Socket; socket(S, PF_UNIX, SOCK_DGRAM, 0) or die; print 'a socket'", {"socket"}),
    "socket pair": ("use Socket; socketpair(A, B, PF_UNIX, SOCK_STREAM, 0) or die; print 'a pair'", {"socketpair"}),
    "open3": ("use IPC::Open3; my $p = open3(my $i, my $o, undef, 'echo', 'a shell'); print <$o>", {"clone", "fork"}),
    "ptrace": (f"syscall({_PTRACE}, 0, 0, 0, 0) == 0 or die; print 'a tracer'", {"ptrace"}),
    "namespace": (f"syscall({_UNSHARE}, 0x10000000) == 0 or die; print 'a namespace'", {"unshare"}),
    "machine code": (f"syscall({_MMAP}, 0, 4096, 7, 34, -1, 0) != -1 or die; print 'a page'", {"mmap"}),
    "fifo": ("use POSIX; mkfifo('fifo', 0600) or die $!; print 'a fifo'", {"mknod", "mknodat"}),
}


@pytest.mark.parametrize("attempt", BEYOND)
def test_what_is_beyond_the_policy_ends_the_run(public_tmp: Path, attempt: str) -> None:
    script, calls = BEYOND[attempt]
    argv = ["perl", "-e", script]
    found = through_api("perl", argv, directory=public_tmp)
    assert (found.status, found.stdout) == (-31, b"")
    assert found.refused in calls
    assert outside(argv, directory=public_tmp).stdout.startswith(b"a ")


def test_through_the_command_line_as_well(run: Runner) -> None:
    found = run("perl", ["perl", "-e", BEYOND["exec"][0]])
    assert (found.status, found.stdout, found.refused) == (-31, b"", "execve")


def test_the_network_is_out_of_reach() -> None:
    with Listener() as listener:
        argv = ["perl", "-MIO::Socket::INET", "-e", f"print ref IO::Socket::INET->new('127.0.0.1:{listener.port}')"]
        found = through_api("perl", argv)
        assert (found.status, found.stdout, found.refused) == (-31, b"", "socket")
        assert outside(argv) == Done(0, b"IO::Socket::INET", b"")
    assert listener.reached == 1


def test_files_of_the_host_are_not_there() -> None:
    argv = [
        "perl",
        "-e",
        "print join ' ', map { -e $_ ? 1 : 0 } '/etc/passwd', '/usr/bin/id', '/usr/share/perl5', $^X, '/tmp'",
    ]
    assert outside(argv).stdout == b"1 1 1 1 1"
    assert through_api("perl", argv).stdout == b"0 0 0 0 1"
    assert through_api("perl", ["perl", "-e", "print -e '/usr/bin/perl' ? 1 : 0"]).stdout == b"1"


@pytest.mark.parametrize("place", ["/", "/usr/bin", "/etc"])
def test_nothing_else_is_writable(place: str) -> None:
    script = 'open F, \'>\', "$ARGV[0]/made" or die "$!\\n"'
    found = through_api("perl", ["perl", "-e", script, place])
    assert found.status != 0
    assert found.stderr in (b"Read-only file system\n", b"Permission denied\n", b"No such file or directory\n")
    assert through_api("perl", ["perl", "-e", script, "/tmp"]) == Done(0, b"", b"")


def test_what_was_written_does_not_reach_the_host_beside_its_directory(public_tmp: Path) -> None:
    work = public_tmp / "work"
    work.mkdir()
    argv = ["perl", "-e", "open F, '>', $_ for 'inside', '../beside'; exit"]
    assert through_api("perl", argv, directory=work).status == 0
    assert [path.name for path in public_tmp.rglob("*")] == ["work", "inside"]
    assert outside(argv, directory=work).status == 0
    assert (public_tmp / "beside").exists()


def test_native_code_that_was_written_cannot_be_loaded(public_tmp: Path, compile_c: Callable[..., Path]) -> None:
    source = '#include <unistd.h>\n__attribute__((constructor)) static void f(void) { write(1, "loaded", 6); }\n'
    library = compile_c(source, static=False, name="own.so", options=("-shared", "-fPIC"))
    (public_tmp / "own.so").write_bytes(library.read_bytes())
    argv = ["perl", "-MDynaLoader", "-e", "DynaLoader::dl_load_file('./own.so', 0) or die DynaLoader::dl_error()"]
    assert outside(argv, directory=public_tmp) == Done(0, b"loaded", b"")
    found = through_api("perl", argv, directory=public_tmp)
    assert (found.status != 0, found.stdout) == (True, b"")
    assert b"failed to map segment" in found.stderr


@pytest.mark.parametrize("attempt", ["socket", "shell", "ptrace", "unshare"])
def test_a_program_under_the_rules_of_perl_is_killed(compile_c: Callable[..., Path], attempt: str) -> None:
    probe = compile_c(PROBE, name="probe")
    assert outside([str(probe), attempt]).status == 0
    found = through_api("perl", [str(probe), attempt], show=probe)
    assert (found.status, found.refused) == (-31, "execve" if attempt == "shell" else attempt)
