"""PolicyBuilder: what each call adds, and that every mistake is an error at the call that makes it."""

from __future__ import annotations

import errno
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.builder import PolicyBuilder, arg
from stockade.policy.building.groups import GroupMethods
from stockade.policy.building.syscalls import method_name
from stockade.policy.groups import GROUPS
from stockade.policy.policy import Policy
from stockade.policy.rules import Kind

ROOT = Path(__file__).resolve().parents[2]
Rule = policy_pb2.Rule


def test_an_empty_policy_allows_nothing() -> None:
    policy = PolicyBuilder().build()
    for call in ("read", "exit_group", "socket", "getpid"):
        assert policy.evaluate(call).action.kind is Kind.KILL


def test_the_example_of_the_documentation() -> None:
    policy = (
        PolicyBuilder("gzip", "packs and unpacks")
        .allow_dynamic_startup()
        .allow_system_malloc()
        .allow_read()
        .allow_write()
        .allow_stat()
        .allow_exit()
        .allow_syscall("ioctl", arg(1) == "TCGETS")
        .add_libraries_for_binary("/usr/bin/gzip")
        .build()
    )
    assert policy.name == "gzip"
    assert policy.message.description == "packs and unpacks"
    assert policy.evaluate("ioctl", (1, "TCGETS")).permits
    assert not policy.evaluate("ioctl", (1, "TCSETS")).permits
    assert not policy.evaluate("socket").permits


# --- groups ---


def test_there_is_one_method_for_each_group_and_no_other() -> None:
    methods = {name for name in vars(GroupMethods) if not name.startswith("_")}
    assert methods == {method_name(name) for name in GROUPS}


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_method_adds_its_group_and_says_what_it_means(name: str) -> None:
    group = GROUPS[name]
    method = getattr(PolicyBuilder, method_name(name))
    assert inspect.getdoc(method) == group.meaning
    arguments = (group.parameter.example,) if group.parameter else ()
    message = method(PolicyBuilder(), *arguments).build().message
    assert list(message.syscalls.groups) == [policy_pb2.Group(name=name, argument=arguments)]
    assert not message.syscalls.rules


def test_the_generated_methods_are_fresh() -> None:
    path = ROOT / "tools" / "generate_group_methods.py"
    spec = importlib.util.spec_from_file_location("generate_group_methods", path)
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    for file, source in generator.sources().items():
        assert file.read_text(encoding="utf-8") == source, "run python tools/generate_group_methods.py"


def test_a_group_counts_once() -> None:
    policy = PolicyBuilder().allow_read().allow_write().allow_read().build()
    assert [group.name for group in policy.message.syscalls.groups] == ["read", "write"]
    assert policy.places.groups == ("allow_read()", "allow_write()")


# --- explicit rules ---

RULES: list[tuple[Callable[[PolicyBuilder], PolicyBuilder], Rule, str]] = [
    (lambda b: b.allow_syscall("getcwd"), Rule(syscall=["getcwd"], action=Rule.ALLOW), 'allow_syscall("getcwd")'),
    (
        lambda b: b.allow_syscall("socket", arg(0) == "AF_UNIX", arg(2) == 0, reason="the log"),
        Rule(
            syscall=["socket"],
            when=[policy_pb2.Condition(argument=0, equal="AF_UNIX"), policy_pb2.Condition(argument=2, equal="0")],
            action=Rule.ALLOW,
            reason="the log",
        ),
        'allow_syscall("socket", arg(0) == "AF_UNIX", arg(2) == 0)',
    ),
    (
        lambda b: b.allow_syscalls("read", ["write", "lseek"]),
        Rule(syscall=["read", "write", "lseek"], action=Rule.ALLOW),
        "allow_syscalls(\"read\", ['write', 'lseek'])",
    ),
    (
        lambda b: b.block_syscall_with_errno("openat2", errno.ENOSYS),
        Rule(syscall=["openat2"], action=Rule.ERRNO, errno="ENOSYS"),
        'block_syscall_with_errno("openat2", 38)',
    ),
    (
        lambda b: b.block_syscall_with_errno("kill", "EPERM", arg(1) != 0, overridable=True),
        Rule(
            syscall=["kill"],
            when=[policy_pb2.Condition(argument=1, not_equal="0")],
            action=Rule.ERRNO,
            errno="EPERM",
            overridable=True,
        ),
        'block_syscall_with_errno("kill", "EPERM", arg(1) != 0, overridable=True)',
    ),
    (
        lambda b: b.block_syscalls_with_errno(("chmod", "fchmod"), 0),
        Rule(syscall=["chmod", "fchmod"], action=Rule.ERRNO, errno="0"),
        "block_syscalls_with_errno(['chmod', 'fchmod'], 0)",
    ),
    (
        lambda b: b.trace("connect", "ask", arg(0) == 3),
        Rule(syscall=["connect"], when=[policy_pb2.Condition(argument=0, equal="3")], action=Rule.TRACE, hook="ask"),
        'trace("connect", "ask", arg(0) == 3)',
    ),
    (lambda b: b.log_syscall("openat"), Rule(syscall=["openat"], action=Rule.LOG), 'log_syscall("openat")'),
    (lambda b: b.trap_syscall("connect"), Rule(syscall=["connect"], action=Rule.TRAP), 'trap_syscall("connect")'),
    (lambda b: b.kill_syscall("socket"), Rule(syscall=["socket"], action=Rule.KILL), 'kill_syscall("socket")'),
]


@pytest.mark.parametrize(("call", "rule", "place"), RULES, ids=[entry[2] for entry in RULES])
def test_a_call_adds_one_rule_and_its_place(
    call: Callable[[PolicyBuilder], PolicyBuilder], rule: Rule, place: str
) -> None:
    policy = call(PolicyBuilder()).build()
    assert list(policy.message.syscalls.rules) == [rule]
    assert policy.places.rules == (place,)
    origins = {resolved.origin.place for resolved in policy.resolve("x86_64").rules if not resolved.danger}
    assert origins == {place}


def test_explicit_rules_come_before_groups_in_any_order_of_calls() -> None:
    policy = PolicyBuilder().allow_read().block_syscall_with_errno("readv", "ENOSYS").build()
    assert policy.evaluate("read").permits
    verdict = policy.evaluate("readv")
    assert verdict.action.errno == errno.ENOSYS
    assert verdict.rule is not None
    assert verdict.rule.origin.place == 'block_syscall_with_errno("readv", "ENOSYS")'


@pytest.mark.parametrize(
    ("call", "action"),
    [
        (lambda b: b.default_errno("EPERM"), policy_pb2.DefaultAction(action=Rule.ERRNO, errno="EPERM")),
        (lambda b: b.default_errno(errno.EACCES), policy_pb2.DefaultAction(action=Rule.ERRNO, errno="EACCES")),
        (lambda b: b.default_trace("ask"), policy_pb2.DefaultAction(action=Rule.TRACE, hook="ask")),
        (lambda b: b.danger_default_allow_all(), policy_pb2.DefaultAction(action=Rule.ALLOW, danger_allow_all=True)),
    ],
)
def test_default_actions(call: Callable[[PolicyBuilder], PolicyBuilder], action: policy_pb2.DefaultAction) -> None:
    policy = call(PolicyBuilder()).build()
    assert policy.message.syscalls.default_action == action
    assert policy.evaluate("getcwd").action.kind.name == Rule.Action.Name(action.action)
    assert policy.evaluate("ptrace").action.kind is Kind.KILL, "whatever the default, some calls stay refused"
    with pytest.raises(PolicyError, match="set already"):
        call(PolicyBuilder().default_errno("ENOTTY"))


def test_unknown_numbers_are_violations_unless_enosys_is_asked_for() -> None:
    assert PolicyBuilder().build().evaluate(100_000).action.kind is Kind.KILL
    policy = PolicyBuilder().enosys_for_unknown_syscalls().build()
    assert policy.evaluate(100_000).action.errno == errno.ENOSYS
    assert policy.evaluate("getcwd").action.kind is Kind.KILL


MISTAKES: list[tuple[Callable[[PolicyBuilder], object], str, str | None]] = [
    (lambda b: b.allow_syscall("getcwdd"), "unknown system call 'getcwdd'", "getcwd"),
    (lambda b: b.allow_syscalls("read", "opennat"), "unknown system call 'opennat'", "openat"),
    (lambda b: b.allow_syscall("socketcall"), "call of i386", None),
    (lambda b: b.allow_syscall(5), "no name", None),  # type: ignore[arg-type]
    (lambda b: b.allow_syscalls(), "no system call", None),
    (lambda b: b.allow_syscalls([]), "no system call", None),
    (lambda b: b.allow_syscall("ioctl", "TCGETS"), "make one with arg", None),  # type: ignore[arg-type]
    (lambda b: b.allow_syscall("getcwd", arg(2) == 0), "no argument 2", None),
    (lambda b: b.allow_syscall("fcntl", arg(1) == 2**40), "32 bits", None),
    (lambda b: b.allow_syscall("ptrace"), "always refused", None),
    (lambda b: b.log_syscall("bpf"), "always refused", None),
    (lambda b: b.trace("io_uring_setup", "ask"), "always refused", None),
    (lambda b: b.block_syscall_with_errno("getcwd", "EPERMM"), "unknown error number", "EPERM"),
    (lambda b: b.block_syscall_with_errno("getcwd", 4096), "4096", None),
    (lambda b: b.block_syscall_with_errno("getcwd", -1), "unknown error number '-1'", None),
    (lambda b: b.block_syscall_with_errno("getcwd", True), "no error number", None),
    (lambda b: b.block_syscall_with_errno("getcwd", ""), "error number", None),
    (lambda b: b.trace("getcwd", ""), "hook", None),
    (lambda b: b.allow_futex_op(), "operations", None),
    (lambda b: b.allow_futex_op("FUTEX_WAK"), "unknown constant", "FUTEX_WAKE"),
    (lambda b: b.add_file("etc/passwd"), "not absolute", None),
    (lambda b: b.add_file("/etc/../passwd"), "not canonical", None),
    (lambda b: b.add_file("/etc/./passwd"), "not canonical", None),
    (lambda b: b.add_file("/etc//passwd"), "not canonical", None),
    (lambda b: b.add_directory("/etc/"), "not canonical", None),
    (lambda b: b.add_file("/etc/pass\0wd"), "NUL", None),
    (lambda b: b.add_file(""), "empty", None),
    (lambda b: b.add_file("/x", inside="/a/.."), "not canonical", None),
    (lambda b: b.add_directory("/srv", inside="/"), "root of the box", None),
    (lambda b: b.add_directory("/proc"), "host", None),
    (lambda b: b.add_directory("/proc/self/fd"), "host", None),
    (lambda b: b.add_file("/proc/1/mem"), "host", None),
    (lambda b: b.add_tmpfs("/tmp", "64Q"), "unit", None),
    (lambda b: b.add_tmpfs("/tmp", 0), "size of 0", None),
    (lambda b: b.add_tmpfs("/tmp", mode=0o10777), "bits", None),
    (lambda b: b.add_symlink("/bin", ""), "symbolic link", None),
    (lambda b: b.add_libraries_for_binary("gzip"), "not absolute", None),
    (lambda b: b.set_hostname("two words"), "blanks", None),
    (lambda b: b.set_hostname(""), "empty", None),
    (lambda b: b.set_hostname("x" * 65), "longer", None),
    (lambda b: b.set_hostname("a").set_hostname("b"), "already", None),
]


@pytest.mark.parametrize(("mistake", "message", "suggestion"), MISTAKES)
def test_a_mistake_is_an_error_at_once_that_names_the_call(
    mistake: Callable[[PolicyBuilder], object], message: str, suggestion: str | None
) -> None:
    builder = PolicyBuilder()
    with pytest.raises(PolicyError, match=message) as caught:
        mistake(builder)
    assert caught.value.suggestion == suggestion
    assert caught.value.source is not None
    assert caught.value.source.partition("(")[0] in dir(PolicyBuilder)
    assert str(caught.value).startswith(caught.value.source)


def test_a_mistake_leaves_the_builder_as_it_was() -> None:
    builder = PolicyBuilder().allow_read()
    before = builder.build()
    for mistake, _, _ in MISTAKES[:20]:
        with pytest.raises(PolicyError):
            mistake(builder)
    assert builder.build() == before


@pytest.mark.parametrize(
    "contradiction",
    [
        lambda b: b.allow_syscall("getcwd").block_syscall_with_errno("getcwd", "EPERM"),
        lambda b: b.allow_syscall("getcwd").allow_syscall("getcwd"),
        lambda b: b.allow_syscall("ioctl").kill_syscall("ioctl", arg(1) == "TCSETS"),
        lambda b: b.allow_syscall("read", arg(0) == 3, arg(0) == 4),
    ],
    ids=["allow and block", "twice", "unreachable", "never"],
)
def test_contradictions_between_rules_are_errors(contradiction: Callable[[PolicyBuilder], PolicyBuilder]) -> None:
    with pytest.raises(PolicyError):
        contradiction(PolicyBuilder()).build()


def test_a_contradiction_names_both_calls() -> None:
    builder = PolicyBuilder().allow_syscalls("getcwd", "chdir").block_syscall_with_errno("chdir", "EPERM")
    with pytest.raises(PolicyError) as caught:
        builder.build()
    assert 'allow_syscalls("getcwd", "chdir")' in str(caught.value)
    assert 'block_syscall_with_errno("chdir", "EPERM")' in str(caught.value)


# --- file system, network, options ---


def test_each_kind_of_mount() -> None:
    message = (
        PolicyBuilder()
        .add_file("/etc/hosts")
        .add_file(Path("/srv/key"), inside=Path("/key"), writable=True, if_exists=True)
        .add_directory("/usr/share/zoneinfo")
        .danger_add_writable_executable_directory("/srv/build", inside="/build")
        .add_tmpfs("/tmp", size="16M", inodes=100)
        .danger_add_executable_tmpfs("/jit", 4096)
        .add_proc()
        .add_dev(shm=True)
        .add_symlink("/bin", "usr/bin")
        .add_libraries_for_binary("/usr/bin/gzip")
        .add_libraries_for_binary("/usr/bin/gzip")
        .build()
        .message
    )
    bind, tmpfs = policy_pb2.Bind, policy_pb2.Tmpfs
    mount = policy_pb2.Mount
    expected = [
        mount(target="/etc/hosts", bind=bind(source="/etc/hosts", kind=bind.FILE)),
        mount(target="/key", bind=bind(source="/srv/key", kind=bind.FILE, writable=True, if_exists=True)),
        mount(target="/usr/share/zoneinfo", bind=bind(source="/usr/share/zoneinfo", kind=bind.DIRECTORY)),
        mount(
            target="/build",
            bind=bind(source="/srv/build", kind=bind.DIRECTORY, writable=True, danger_executable=True),
        ),
        mount(target="/tmp", tmpfs=tmpfs(size="16M", inodes=100)),
        mount(target="/jit", tmpfs=tmpfs(size="4096", danger_executable=True)),
        mount(target="/proc", proc=policy_pb2.Proc()),
        mount(target="/dev", dev=policy_pb2.Dev(shm=True)),
        mount(target="/bin", symlink=policy_pb2.Symlink(points_to="usr/bin")),
    ]
    assert sorted(message.filesystem.mounts, key=lambda each: each.target) == sorted(
        expected, key=lambda each: each.target
    )
    assert list(message.filesystem.libraries_for_binary) == ["/usr/bin/gzip"]


def test_parents_are_mounted_before_what_lies_beneath_them() -> None:
    policy = PolicyBuilder().add_file("/a/b/c").add_directory("/a").add_tmpfs("/a/b").add_proc().build()
    assert [mount.target for mount in policy.message.filesystem.mounts] == ["/a", "/a/b", "/a/b/c", "/proc"]


def test_the_same_mount_twice_is_one() -> None:
    policy = PolicyBuilder().add_file("/etc/hosts").add_file("/etc/hosts", inside="/etc/hosts").build()
    assert len(policy.message.filesystem.mounts) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda b: b.add_file("/x"), lambda b: b.add_file("/y", inside="/x")),
        (lambda b: b.add_file("/x"), lambda b: b.add_file("/x", writable=True)),
        (lambda b: b.add_file("/x"), lambda b: b.add_tmpfs("/x")),
        (lambda b: b.add_directory("/x"), lambda b: b.add_file("/x")),
        (lambda b: b.add_tmpfs("/x", "1M"), lambda b: b.add_tmpfs("/x", "2M")),
        (lambda b: b.add_file("/x"), lambda b: b.add_file("/y", inside="/x/y")),
        (lambda b: b.add_symlink("/x", "y"), lambda b: b.add_tmpfs("/x/z")),
    ],
)
def test_conflicting_mounts_are_errors_in_either_order_and_name_both_calls(
    first: Callable[[PolicyBuilder], PolicyBuilder], second: Callable[[PolicyBuilder], PolicyBuilder]
) -> None:
    for one, other in ((first, second), (second, first)):
        alone = PolicyBuilder()
        one(alone)
        with pytest.raises(PolicyError) as caught:
            other(alone)
        (present,) = [call for _, call in alone._mounts.values()]
        assert present in str(caught.value)
        assert caught.value.source != present


def test_paths_must_be_text() -> None:
    with pytest.raises(TypeError, match="bytes"):
        PolicyBuilder().add_file(b"/etc/hosts")  # type: ignore[arg-type]


def test_network_and_options() -> None:
    message = (
        PolicyBuilder()
        .allow_loopback()
        .set_hostname("box")
        .set_hostname("box")
        .set_domainname("home")
        .danger_allow_speculation()
        .add_tested_program("/usr/bin/gzip", "1.12", "debian-12")
        .build()
        .message
    )
    assert message.network.mode == policy_pb2.Network.LOOPBACK
    assert (message.options.hostname, message.options.domainname) == ("box", "home")
    assert message.options.danger_speculation
    assert message.tested_with[0].version == "1.12"
    assert not PolicyBuilder().build().message.HasField("network")


def test_what_undoes_a_protection_has_a_name_that_says_so() -> None:
    def dangers(message: policy_pb2.Policy) -> bool:
        return "danger" in str(message).lower()

    for name, method in inspect.getmembers(PolicyBuilder, inspect.isfunction):
        if name.startswith("_") or name == "build" or len(inspect.signature(method).parameters) > 1:
            continue
        message = method(PolicyBuilder()).build().message
        assert dangers(message) == name.startswith("danger_"), name


def test_a_builder_goes_on_after_building() -> None:
    builder = PolicyBuilder().allow_read()
    first = builder.build()
    second = builder.allow_write().add_tmpfs("/tmp").build()
    assert not first.evaluate("write").permits
    assert not first.message.HasField("filesystem")
    assert second.evaluate("write").permits
    assert isinstance(second, Policy)
