"""The finished policy: immutable, hashable, compiled once for each architecture and mode; and what is not enforced."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections.abc import Callable

import pytest

from stockade._proto import policy_pb2
from stockade.errors import PolicyError, UnsupportedError
from stockade.kernel.architectures import AARCH64, X86_64, native
from stockade.policy.builder import PolicyBuilder, arg
from stockade.policy.places import Places
from stockade.policy.policy import Policy, unsupported_features
from stockade.policy.rules import Kind


def some() -> Policy:
    return PolicyBuilder("some").allow_read().allow_syscall("ioctl", arg(1) == "TCGETS").build()


def test_a_policy_is_a_value() -> None:
    one, same, other = some(), some(), PolicyBuilder("other").allow_read().build()
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != one.message
    assert len({one, same, other}) == 2
    assert one.digest == hashlib.blake2b(one.serialized, digest_size=32).digest()
    assert len(one.digest) == 32
    assert policy_pb2.Policy.FromString(one.serialized) == one.message
    assert "some" in repr(one)


def test_places_do_not_count_for_equality() -> None:
    assert Policy.from_text(some().to_text(), "a") == some()
    assert Policy.from_text(some().to_text(), "a").places != some().places


def test_a_policy_cannot_be_changed_through_its_message() -> None:
    policy = some()
    before = policy.serialized
    policy.message.syscalls.groups.add(name="write")
    message = policy.message
    kept = Policy.from_message(message)
    message.syscalls.Clear()
    assert policy.serialized == kept.serialized == before
    assert kept.message == policy.message
    assert kept.to_text() == policy.to_text()
    assert not policy.evaluate("write").permits
    with pytest.raises(AttributeError):
        policy.digest = b""  # type: ignore[misc]


def test_a_policy_can_be_pickled() -> None:
    policy = some()
    again = pickle.loads(pickle.dumps(policy))
    assert again == policy
    assert again.places == policy.places
    assert again.compile() == policy.compile()


def test_messages_are_checked_with_the_path_of_the_field() -> None:
    message = policy_pb2.Policy(schema_version=1)
    message.syscalls.rules.add(syscall=["read"], action=policy_pb2.Rule.ALLOW)
    Policy.from_message(message)
    message.syscalls.rules.add(syscall=["getcwd", "wirte"], action=policy_pb2.Rule.ALLOW)
    with pytest.raises(
        PolicyError, match=r"^syscalls\.rules\[1\]\.syscall\[1\]: unknown system call 'wirte'"
    ) as caught:
        Policy.from_message(message)
    assert caught.value.suggestion == "write"
    with pytest.raises(PolicyError, match="schema_version"):
        Policy.from_message(policy_pb2.Policy())


def test_fields_of_a_newer_schema_are_an_error() -> None:
    # Field 999 as a varint: a newer version wrote something that this one does not know.
    newer = policy_pb2.Policy.FromString(some().serialized + b"\xb8\x3e\x01")
    with pytest.raises(PolicyError, match="newer"):
        Policy.from_message(newer)


def test_places_appear_in_verdicts() -> None:
    policy = Policy(some().message, Places(rules=("here:7",), groups=("there:8",)))
    rule = policy.evaluate("ioctl", (0, "TCGETS")).rule
    assert rule is not None
    assert rule.origin.place == "here:7"
    rule = policy.evaluate("read").rule
    assert rule is not None
    assert rule.origin.place == "there:8"
    assert Places().rule(3) == "syscalls.rules[3]"
    assert Places().group(0) == "syscalls.groups[0]"


def test_evaluate_takes_names_numbers_and_constants() -> None:
    policy = some()
    assert policy.evaluate("ioctl", (1, "TCGETS"), "x86_64").permits
    assert policy.evaluate(16, (1, 0x5401), X86_64).permits
    assert policy.evaluate("ioctl", (1, 0x5401 | 1 << 40), "aarch64").permits, "the kernel reads 32 bits of it"
    assert policy.evaluate("ioctl", (1,)).action.kind is Kind.KILL
    with pytest.raises(PolicyError) as caught:
        policy.evaluate("iocctl")
    assert caught.value.suggestion == "ioctl"
    with pytest.raises(PolicyError, match="aarch64 has no system call named 'open'"):
        policy.evaluate("open", (), "aarch64")
    with pytest.raises(PolicyError, match="TCGETSS"):
        policy.evaluate("ioctl", (1, "TCGETSS"))
    with pytest.raises(PolicyError) as caught:
        policy.evaluate("ioctl", (), "x86-64")
    assert caught.value.suggestion == "x86_64"


def test_a_constant_of_one_architecture_ties_a_policy_to_it() -> None:
    policy = PolicyBuilder().allow_syscall("mmap", arg(3) == "MAP_PRIVATE|MAP_32BIT").build()
    assert policy.evaluate("mmap", (0, 0, 0, "MAP_PRIVATE|MAP_32BIT"), "x86_64").permits
    with pytest.raises(PolicyError, match="MAP_32BIT does not exist on aarch64"):
        policy.resolve("aarch64")
    # The call does not exist there, so nothing is missing.
    policy = PolicyBuilder().allow_syscall("arch_prctl", arg(0) == "ARCH_SET_FS").build()
    assert policy.resolve("aarch64").rules
    with pytest.raises(PolicyError, match="does not exist on"):
        PolicyBuilder().allow_syscall("mmap", arg(3) == "MAP_32BIT", arg(2) == "PROT_BTI").build()


def test_programs_differ_by_architecture_and_mode_and_are_made_once() -> None:
    policy = some()
    programs = {(a, m): policy.compile(a, m) for a in ("x86_64", "aarch64") for m in ("enforce", "refuse")}
    assert len(set(programs.values())) == 4
    for (architecture, mode), program in programs.items():
        assert len(program) % 8 == 0
        assert policy.compile(architecture, mode) is program
        assert some().compile(architecture, mode) == program
    assert policy.compile() == policy.compile(native())
    assert policy.resolve(AARCH64) is policy.resolve("aarch64")
    with pytest.raises(PolicyError, match="mode"):
        policy.compile("x86_64", "enforced")


def test_threads_get_the_same_program() -> None:
    policy = some()
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(policy.compile("aarch64"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(program) for program in found}) == 1


# --- what this version does not enforce ---

Change = Callable[[policy_pb2.Policy], object]
UNSUPPORTED: list[tuple[Change, str]] = [
    (lambda m: m.filesystem.root.SetInParent(), "filesystem.root"),
    (lambda m: m.filesystem.mounts.add(target="/a").overlay.SetInParent(), "filesystem.mounts[0].overlay"),
    (lambda m: m.filesystem.mounts.add(target="/a").generated.SetInParent(), "filesystem.mounts[0].generated"),
    (lambda m: m.filesystem.mounts.add(target="/a").mask.SetInParent(), "filesystem.mounts[0].mask"),
    (lambda m: m.filesystem.mounts.add(target="/a").mqueue.SetInParent(), "filesystem.mounts[0].mqueue"),
    (lambda m: setattr(m.filesystem.mounts.add(target="/dev").dev, "pts", True), "filesystem.mounts[0].dev.pts"),
    (lambda m: setattr(m.network, "mode", policy_pb2.Network.BROKERED), "network.mode: BROKERED"),
    (lambda m: m.network.allow.add(address="::1"), "network.allow"),
    (lambda m: setattr(m.network, "refuse_quietly", True), "network.refuse_quietly"),
    (lambda m: setattr(m.options, "without_init", True), "options.without_init"),
    (lambda m: m.options.danger_share_namespace.append("ipc"), "options.danger_share_namespace"),
    (lambda m: m.options.optional_layer.append("landlock"), "options.optional_layer"),
    (lambda m: setattr(m.options, "apparmor_profile", "x"), "options.apparmor_profile"),
    (lambda m: setattr(m.options, "selinux_context", "x"), "options.selinux_context"),
    (lambda m: m.syscalls.phases.add(), "syscalls.phases"),
]


# Rules that are not enforced, and what only a text can say, make no policy at all.
REFUSED: list[tuple[Change, str]] = [
    *UNSUPPORTED[-1:],
    (lambda m: m.include.append("base"), "include"),
    (lambda m: m.variables.add(name="A"), "variables"),
]


@pytest.mark.parametrize(("change", "name"), UNSUPPORTED, ids=[entry[1] for entry in UNSUPPORTED])
def test_what_is_not_enforced_is_listed(change: Change, name: str) -> None:
    message = some().message
    assert unsupported_features(message) == []
    change(message)
    (feature,) = unsupported_features(message)
    assert feature.startswith(name)


@pytest.mark.parametrize(("change", "name"), REFUSED, ids=[entry[1] for entry in REFUSED])
def test_rules_that_are_not_enforced_are_refused_when_the_policy_is_made(change: Change, name: str) -> None:
    message = some().message
    change(message)
    with pytest.raises((UnsupportedError, PolicyError), match=name.rpartition(".")[2]):
        Policy.from_message(message)


def test_everything_a_builder_can_say_is_enforced() -> None:
    message = (
        PolicyBuilder()
        .danger_default_allow_all()
        .enosys_for_unknown_syscalls()
        .trace("connect", "ask")
        .add_file("/etc/hosts", if_exists=True)
        .danger_add_writable_executable_directory("/srv")
        .danger_add_executable_tmpfs("/jit")
        .add_tmpfs("/tmp")
        .add_proc(full=True)
        .add_dev(shm=True)
        .add_symlink("/bin", "usr/bin")
        .add_libraries_for_binary("/bin/true")
        .allow_loopback()
        .set_hostname("a")
        .set_domainname("b")
        .danger_allow_speculation()
        .build()
        .message
    )
    assert unsupported_features(message) == []
