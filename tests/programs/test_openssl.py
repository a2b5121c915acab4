"""openssl under policies/openssl.textproto: the same answers as without a sandbox; no network, no other process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.listener import Listener
from support.programs import PROBE, Done, Runner, outside, through_api
from support.twins import Twins

DATA = bytes(range(256)) * 400
CA = """
[ca]
default_ca = own
[own]
dir = .
database = index.txt
new_certs_dir = .
serial = serial
default_md = sha256
policy = any
[any]
commonName = supplied
"""


def _openssl(*arguments: str, directory: Path) -> None:
    """Run a command without a sandbox, to make what others work on."""
    done = outside(["openssl", *arguments], directory=directory)
    assert done.status == 0, done


@pytest.fixture(scope="session")
def keys(session_directory: Path) -> dict[str, bytes]:
    """Keys and a certificate, made without a sandbox."""
    directory = session_directory / "keys"
    directory.mkdir()
    _openssl("genrsa", "-out", "rsa.pem", "1024", directory=directory)
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ec.pem", directory=directory)
    _openssl("ec", "-in", "ec.pem", "-pubout", "-out", "public.pem", directory=directory)
    _openssl("req", "-x509", "-new", "-key", "ec.pem", "-subj", "/CN=root", "-out", "root.pem", directory=directory)
    _openssl("req", "-new", "-key", "rsa.pem", "-subj", "/CN=leaf", "-out", "leaf.csr", directory=directory)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def twins(public_tmp: Path, keys: dict[str, bytes]) -> Twins:
    def build(directory: Path) -> None:
        for name, content in {**keys, "data": DATA, "ca.cnf": CA.encode(), "index.txt": b"", "serial": b"01\n"}.items():
            (directory / name).write_bytes(content)

    # Messages begin with the number of the thread.
    return Twins("openssl", public_tmp, build, varying=b"^[0-9A-F]{12,16}(?=:error:)")


ANSWERS = (
    "version -v",
    "dgst -sha256 data",
    "dgst -blake2b512 -r data missing",
    "dgst -sha256 -hmac key data",
    "sha3-256 data",
    "mac -macopt hexkey:00 -macopt digest:SHA256 -in data HMAC",
    "kdf -keylen 16 -kdfopt digest:SHA256 -kdfopt pass:x -kdfopt salt:y -kdfopt iter:10 PBKDF2",
    "enc -base64 -in data",
    "enc -aes-256-cbc -K 00 -iv 00 -in data -out data.aes",
    "enc -d -aes-256-cbc -K 00 -iv 00 -in data.aes",
    "enc -d -aes-256-cbc -K 01 -iv 00 -in data.aes -out wrong",
    "enc -aes-128-ctr -pbkdf2 -S 0011223344556677 -pass file:serial -in data -out data.ctr",
    "enc -rc4 -provider legacy -provider default -K 00 -in data -out data.rc4",
    "rsa -in rsa.pem -pubout -out rsa.public",
    "rsa -in rsa.pem -text -noout",
    "ec -in ec.pem -text -noout",
    "pkey -in ec.pem -pubout",
    "pkeyutl -sign -inkey rsa.pem -in serial -out serial.signed",
    "pkeyutl -verifyrecover -inkey rsa.pem -in serial.signed",
    "dgst -sha256 -sign rsa.pem -out data.signed data",
    "dgst -sha256 -prverify rsa.pem -signature data.signed data",
    "dgst -sha256 -prverify rsa.pem -signature data.signed serial",
    "x509 -in root.pem -text -noout",
    "x509 -in root.pem -fingerprint -sha256 -noout",
    "req -in leaf.csr -text -noout -verify",
    "verify -CAfile root.pem root.pem",
    "verify root.pem",
    "asn1parse -in root.pem",
    "storeutl -noout root.pem",
    "pkcs8 -topk8 -nocrypt -in rsa.pem -out rsa.pk8",
    "crl2pkcs7 -nocrl -certfile root.pem",
    "passwd -6 -salt ab password",
    "prime 65537 65539",
    "ciphers -v ECDHE",
    "list -providers",
    "errstr 0200100D",
    "info -configdir",
    "rehash .",
    "x509 -in missing -noout",
    "no-such-command",
)


def test_answers_and_files_are_the_same(twins: Twins) -> None:
    statuses = [twins.run(["openssl", *command.split()]).status for command in ANSWERS]
    failing = {ANSWERS[index]: status for index, status in enumerate(statuses) if status}
    assert failing == {
        "dgst -blake2b512 -r data missing": 1,
        "enc -d -aes-256-cbc -K 01 -iv 00 -in data.aes -out wrong": 1,
        "dgst -sha256 -prverify rsa.pem -signature data.signed serial": 1,
        "verify root.pem": 2,
        "rehash .": 2,
        "x509 -in missing -noout": 1,
    }
    assert any(name.endswith(".0") for name in twins.assert_equal_files())


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        (["dgst", "-sha512"], DATA),
        (["enc", "-aes-128-cbc", "-K", "00", "-iv", "00"], DATA),
        (["enc", "-d", "-base64"], b"aGVsbG8K"),
        ([], b"version -v\ndgst -list\nquit\n"),
    ],
    ids=["digest", "cipher", "base64", "commands"],
)
def test_standard_streams(run: Runner, arguments: list[str], data: bytes) -> None:
    assert run("openssl", ["openssl", *arguments], input=data) == outside(["openssl", *arguments], input=data)


# What has random numbers in it is made in the box and read without one. The last word names what is made.
MADE = (
    ("genrsa -out key 1024", "rsa -check -noout -in key"),
    ("genrsa -aes128 -passout pass:word -out key 1024", "rsa -check -noout -passin pass:word -in key"),
    ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out key", "pkey -check -noout -in key"),
    ("genpkey -algorithm ed25519 -out key", "pkey -check -noout -in key"),
    ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key", "pkey -check -noout -in key"),
    ("dhparam -dsaparam -out key 512", "dhparam -check -noout -in key"),
    ("req -x509 -new -key ec.pem -subj /CN=own -days 3 -out key", "verify -CAfile key key"),
    ("req -newkey rsa:1024 -nodes -keyout new -subj /CN=own -out key", "req -verify -noout -in key"),
    ("x509 -req -in leaf.csr -CA root.pem -CAkey ec.pem -CAcreateserial -out key", "verify -CAfile root.pem key"),
    ("ca -batch -config ca.cnf -days 3 -in leaf.csr -cert root.pem -keyfile ec.pem -out key", "x509 -noout -in key"),
    ("pkcs12 -export -in root.pem -inkey ec.pem -passout pass:x -out key", "pkcs12 -noout -passin pass:x -in key"),
    ("dgst -sign ec.pem -out key data", "dgst -verify public.pem -signature key data"),
    ("cms -sign -binary -nodetach -in data -signer root.pem -inkey ec.pem -out key", "cms -verify -noverify -in key"),
    ("enc -aes-256-cbc -pbkdf2 -pass pass:x -in data -out key", "enc -d -aes-256-cbc -pbkdf2 -pass pass:x -in key"),
    ("rand -writerand state -out key 100", "dgst -sha256 key"),
    ("rand -rand /dev/urandom -base64 -out key 99", "enc -d -base64 -in key"),
    ("prime -generate -bits 128 -safe", ""),
)


def test_what_is_made_in_the_box_is_good_outside(twins: Twins) -> None:
    for make, check in MADE:
        found = through_api("openssl", ["openssl", *make.split()], directory=twins.boxed)
        assert (found.status, found.refused) == (0, ""), (make, found)
        if check:
            checked = outside(["openssl", *check.split()], directory=twins.boxed)
            assert checked.status == 0, (check, checked)
    assert (twins.boxed / "index.txt").read_bytes().startswith(b"V\t")
    assert (twins.boxed / "new").stat().st_mode & 0o777 == 0o600


def test_speed() -> None:
    argv = ["openssl", "speed", "-mr", "-seconds", "1", "-bytes", "4096", "-evp", "sha256"]
    found = through_api("openssl", argv)
    assert (found.status, found.refused) == (0, "")
    assert b"+F:" in found.stdout


# --- what it may not do ---


@pytest.mark.parametrize(
    "command", ["s_client -connect", "s_time -time 1 -connect", "ocsp -issuer root.pem -cert root.pem -host"]
)
def test_the_network_is_out_of_reach(twins: Twins, command: str) -> None:
    with Listener() as listener:
        argv = ["openssl", *command.split(), f"127.0.0.1:{listener.port}"]
        found = through_api("openssl", argv, directory=twins.boxed)
        assert (found.status, found.refused, listener.reached) == (-31, "socket", 0)
        outside(argv, directory=twins.boxed)
    assert listener.reached > 0


@pytest.mark.parametrize(
    ("command", "call", "unsandboxed"),
    [
        ("s_client -connect localhost:1", "socket", b"connect:errno=111\n"),
        ("s_client -unix missing", "socket", b"connect:errno=2\n"),
        ("s_server -nocert -accept 127.0.0.1:{port}", "socket", b"Address already in use"),
        ("speed -seconds 1 -bytes 64 -multi 2 sha256", "pipe2", b"Forked child 1\n"),
    ],
)
def test_servers_and_processes_end_the_run(twins: Twins, command: str, call: str, unsandboxed: bytes) -> None:
    with Listener() as listener:
        argv = ["openssl", *command.format(port=listener.port).split()]
        found = through_api("openssl", argv, directory=twins.boxed)
        assert (found.status, found.refused) in ((-31, call), (-31, "pipe"))
        done = outside(argv, directory=twins.boxed)
        assert unsandboxed in done.stdout + done.stderr


def test_through_the_command_line_as_well(run: Runner) -> None:
    found = run("openssl", ["openssl", "s_client", "-connect", "127.0.0.1:1"])
    assert (found.status, found.refused) == (-31, "socket")


def test_files_of_the_host_are_not_there(run: Runner) -> None:
    argv = ["openssl", "dgst", "-r", "-sha256", "/etc/passwd"]
    assert len(outside(argv).stdout) > 64
    found = run("openssl", argv)
    assert (found.status, found.stdout) == (1, b"")
    assert b"No such file or directory" in found.stderr


@pytest.mark.parametrize("place", ["..", "/etc/ssl", "/usr/lib/ssl", "/dev"])
def test_nothing_else_is_writable(public_tmp: Path, place: str) -> None:
    work = public_tmp / "work"
    work.mkdir()
    found = through_api("openssl", ["openssl", "rand", "-out", f"{place}/made", "9"], directory=work)
    assert (found.status, found.refused) == (1, "")
    assert [path.name for path in public_tmp.iterdir()] == ["work"]
    assert outside(["openssl", "rand", "-out", "../made", "9"], directory=work).status == 0
    assert (public_tmp / "made").exists()


def test_a_module_that_was_written_cannot_be_loaded(public_tmp: Path, compile_c: Callable[..., Path]) -> None:
    source = '#include <unistd.h>\n__attribute__((constructor)) static void f(void) { write(1, "loaded\\n", 7); }\n'
    library = compile_c(source, static=False, name="own.so", options=("-shared", "-fPIC"))
    (public_tmp / "own.so").write_bytes(library.read_bytes())
    argv = ["openssl", "list", "-providers", "-provider-path", str(public_tmp), "-provider", "own"]
    assert b"loaded\n" in outside(argv, directory=public_tmp).stdout
    found = through_api("openssl", argv, directory=public_tmp)
    assert (found.status, found.stdout) == (1, b"")
    assert b"failed to map segment" in found.stderr


@pytest.mark.parametrize("attempt", ["socket", "shell", "ptrace", "unshare"])
def test_a_program_under_the_rules_of_openssl_is_killed(compile_c: Callable[..., Path], attempt: str) -> None:
    probe = compile_c(PROBE, name="probe")
    assert outside([str(probe), attempt]).status == 0
    found = through_api("openssl", [str(probe), attempt], show=probe)
    assert (found.status, found.refused) == (-31, "execve" if attempt == "shell" else attempt)
    assert through_api("openssl", [str(probe), "open", str(probe)], show=probe) == Done(0, b"", b"")
