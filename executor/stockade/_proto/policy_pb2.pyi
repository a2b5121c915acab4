from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Policy(_message.Message):
    __slots__ = ("schema_version", "name", "description", "tested_with", "include", "syscalls", "filesystem", "network", "limits", "options", "variables")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TESTED_WITH_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    SYSCALLS_FIELD_NUMBER: _ClassVar[int]
    FILESYSTEM_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    name: str
    description: str
    tested_with: _containers.RepeatedCompositeFieldContainer[TestedProgram]
    include: _containers.RepeatedScalarFieldContainer[str]
    syscalls: SyscallPolicy
    filesystem: FileSystem
    network: Network
    limits: Limits
    options: Options
    variables: _containers.RepeatedCompositeFieldContainer[Variable]
    def __init__(self, schema_version: _Optional[int] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., tested_with: _Optional[_Iterable[_Union[TestedProgram, _Mapping[str, _Any]]]] = ..., include: _Optional[_Iterable[str]] = ..., syscalls: _Optional[_Union[SyscallPolicy, _Mapping[str, _Any]]] = ..., filesystem: _Optional[_Union[FileSystem, _Mapping[str, _Any]]] = ..., network: _Optional[_Union[Network, _Mapping[str, _Any]]] = ..., limits: _Optional[_Union[Limits, _Mapping[str, _Any]]] = ..., options: _Optional[_Union[Options, _Mapping[str, _Any]]] = ..., variables: _Optional[_Iterable[_Union[Variable, _Mapping[str, _Any]]]] = ...) -> None: ...

class Variable(_message.Message):
    __slots__ = ("name", "default", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    default: str
    description: str
    def __init__(self, name: _Optional[str] = ..., default: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class TestedProgram(_message.Message):
    __slots__ = ("path", "version", "platform")
    PATH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    path: str
    version: str
    platform: str
    def __init__(self, path: _Optional[str] = ..., version: _Optional[str] = ..., platform: _Optional[str] = ...) -> None: ...

class SyscallPolicy(_message.Message):
    __slots__ = ("rules", "groups", "default_action", "raw_filters", "danger_reopened", "phases")
    RULES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_ACTION_FIELD_NUMBER: _ClassVar[int]
    RAW_FILTERS_FIELD_NUMBER: _ClassVar[int]
    DANGER_REOPENED_FIELD_NUMBER: _ClassVar[int]
    PHASES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    default_action: DefaultAction
    raw_filters: _containers.RepeatedCompositeFieldContainer[RawFilter]
    danger_reopened: _containers.RepeatedScalarFieldContainer[str]
    phases: _containers.RepeatedCompositeFieldContainer[Phase]
    def __init__(self, rules: _Optional[_Iterable[_Union[Rule, _Mapping[str, _Any]]]] = ..., groups: _Optional[_Iterable[_Union[Group, _Mapping[str, _Any]]]] = ..., default_action: _Optional[_Union[DefaultAction, _Mapping[str, _Any]]] = ..., raw_filters: _Optional[_Iterable[_Union[RawFilter, _Mapping[str, _Any]]]] = ..., danger_reopened: _Optional[_Iterable[str]] = ..., phases: _Optional[_Iterable[_Union[Phase, _Mapping[str, _Any]]]] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("syscall", "when", "action", "errno", "hook", "overridable", "reason", "evidence")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[Rule.Action]
        ALLOW: _ClassVar[Rule.Action]
        ERRNO: _ClassVar[Rule.Action]
        LOG: _ClassVar[Rule.Action]
        TRAP: _ClassVar[Rule.Action]
        TRACE: _ClassVar[Rule.Action]
        KILL: _ClassVar[Rule.Action]
    ACTION_UNSPECIFIED: Rule.Action
    ALLOW: Rule.Action
    ERRNO: Rule.Action
    LOG: Rule.Action
    TRAP: Rule.Action
    TRACE: Rule.Action
    KILL: Rule.Action
    SYSCALL_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ERRNO_FIELD_NUMBER: _ClassVar[int]
    HOOK_FIELD_NUMBER: _ClassVar[int]
    OVERRIDABLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    syscall: _containers.RepeatedScalarFieldContainer[str]
    when: _containers.RepeatedCompositeFieldContainer[Condition]
    action: Rule.Action
    errno: str
    hook: str
    overridable: bool
    reason: str
    evidence: Evidence
    def __init__(self, syscall: _Optional[_Iterable[str]] = ..., when: _Optional[_Iterable[_Union[Condition, _Mapping[str, _Any]]]] = ..., action: _Optional[_Union[Rule.Action, str]] = ..., errno: _Optional[str] = ..., hook: _Optional[str] = ..., overridable: bool = ..., reason: _Optional[str] = ..., evidence: _Optional[_Union[Evidence, _Mapping[str, _Any]]] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("argument", "equal", "not_equal", "less", "less_or_equal", "greater", "greater_or_equal", "one_of", "masked", "no_bits_outside")
    ARGUMENT_FIELD_NUMBER: _ClassVar[int]
    EQUAL_FIELD_NUMBER: _ClassVar[int]
    NOT_EQUAL_FIELD_NUMBER: _ClassVar[int]
    LESS_FIELD_NUMBER: _ClassVar[int]
    LESS_OR_EQUAL_FIELD_NUMBER: _ClassVar[int]
    GREATER_FIELD_NUMBER: _ClassVar[int]
    GREATER_OR_EQUAL_FIELD_NUMBER: _ClassVar[int]
    ONE_OF_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    NO_BITS_OUTSIDE_FIELD_NUMBER: _ClassVar[int]
    argument: int
    equal: str
    not_equal: str
    less: str
    less_or_equal: str
    greater: str
    greater_or_equal: str
    one_of: ValueSet
    masked: Masked
    no_bits_outside: str
    def __init__(self, argument: _Optional[int] = ..., equal: _Optional[str] = ..., not_equal: _Optional[str] = ..., less: _Optional[str] = ..., less_or_equal: _Optional[str] = ..., greater: _Optional[str] = ..., greater_or_equal: _Optional[str] = ..., one_of: _Optional[_Union[ValueSet, _Mapping[str, _Any]]] = ..., masked: _Optional[_Union[Masked, _Mapping[str, _Any]]] = ..., no_bits_outside: _Optional[str] = ...) -> None: ...

class ValueSet(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, value: _Optional[_Iterable[str]] = ...) -> None: ...

class Masked(_message.Message):
    __slots__ = ("mask", "value")
    MASK_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    mask: str
    value: str
    def __init__(self, mask: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("name", "argument")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    argument: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., argument: _Optional[_Iterable[str]] = ...) -> None: ...

class DefaultAction(_message.Message):
    __slots__ = ("action", "errno", "hook", "danger_allow_all")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ERRNO_FIELD_NUMBER: _ClassVar[int]
    HOOK_FIELD_NUMBER: _ClassVar[int]
    DANGER_ALLOW_ALL_FIELD_NUMBER: _ClassVar[int]
    action: Rule.Action
    errno: str
    hook: str
    danger_allow_all: bool
    def __init__(self, action: _Optional[_Union[Rule.Action, str]] = ..., errno: _Optional[str] = ..., hook: _Optional[str] = ..., danger_allow_all: bool = ...) -> None: ...

class RawFilter(_message.Message):
    __slots__ = ("syscall", "architecture", "program", "assembly")
    SYSCALL_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    ASSEMBLY_FIELD_NUMBER: _ClassVar[int]
    syscall: _containers.RepeatedScalarFieldContainer[str]
    architecture: str
    program: bytes
    assembly: str
    def __init__(self, syscall: _Optional[_Iterable[str]] = ..., architecture: _Optional[str] = ..., program: _Optional[bytes] = ..., assembly: _Optional[str] = ...) -> None: ...

class Phase(_message.Message):
    __slots__ = ("name", "begins_with", "rules", "groups")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BEGINS_WITH_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    name: str
    begins_with: str
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    def __init__(self, name: _Optional[str] = ..., begins_with: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[Rule, _Mapping[str, _Any]]]] = ..., groups: _Optional[_Iterable[_Union[Group, _Mapping[str, _Any]]]] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("origin", "count", "example")
    class Origin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        WRITTEN: _ClassVar[Evidence.Origin]
        OBSERVED: _ClassVar[Evidence.Origin]
        INFERRED: _ClassVar[Evidence.Origin]
    WRITTEN: Evidence.Origin
    OBSERVED: Evidence.Origin
    INFERRED: Evidence.Origin
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    origin: Evidence.Origin
    count: int
    example: str
    def __init__(self, origin: _Optional[_Union[Evidence.Origin, str]] = ..., count: _Optional[int] = ..., example: _Optional[str] = ...) -> None: ...

class FileSystem(_message.Message):
    __slots__ = ("mounts", "libraries_for_binary", "writable_root", "root", "python")
    MOUNTS_FIELD_NUMBER: _ClassVar[int]
    LIBRARIES_FOR_BINARY_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_ROOT_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    mounts: _containers.RepeatedCompositeFieldContainer[Mount]
    libraries_for_binary: _containers.RepeatedScalarFieldContainer[str]
    writable_root: bool
    root: RootTree
    python: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, mounts: _Optional[_Iterable[_Union[Mount, _Mapping[str, _Any]]]] = ..., libraries_for_binary: _Optional[_Iterable[str]] = ..., writable_root: bool = ..., root: _Optional[_Union[RootTree, _Mapping[str, _Any]]] = ..., python: _Optional[_Iterable[str]] = ...) -> None: ...

class RootTree(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: str
    def __init__(self, source: _Optional[str] = ...) -> None: ...

class Mount(_message.Message):
    __slots__ = ("target", "bind", "tmpfs", "proc", "dev", "overlay", "symlink", "generated", "mask", "mqueue")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    BIND_FIELD_NUMBER: _ClassVar[int]
    TMPFS_FIELD_NUMBER: _ClassVar[int]
    PROC_FIELD_NUMBER: _ClassVar[int]
    DEV_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    SYMLINK_FIELD_NUMBER: _ClassVar[int]
    GENERATED_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    MQUEUE_FIELD_NUMBER: _ClassVar[int]
    target: str
    bind: Bind
    tmpfs: Tmpfs
    proc: Proc
    dev: Dev
    overlay: Overlay
    symlink: Symlink
    generated: Generated
    mask: Mask
    mqueue: Mqueue
    def __init__(self, target: _Optional[str] = ..., bind: _Optional[_Union[Bind, _Mapping[str, _Any]]] = ..., tmpfs: _Optional[_Union[Tmpfs, _Mapping[str, _Any]]] = ..., proc: _Optional[_Union[Proc, _Mapping[str, _Any]]] = ..., dev: _Optional[_Union[Dev, _Mapping[str, _Any]]] = ..., overlay: _Optional[_Union[Overlay, _Mapping[str, _Any]]] = ..., symlink: _Optional[_Union[Symlink, _Mapping[str, _Any]]] = ..., generated: _Optional[_Union[Generated, _Mapping[str, _Any]]] = ..., mask: _Optional[_Union[Mask, _Mapping[str, _Any]]] = ..., mqueue: _Optional[_Union[Mqueue, _Mapping[str, _Any]]] = ...) -> None: ...

class Bind(_message.Message):
    __slots__ = ("source", "kind", "writable", "if_exists", "danger_executable")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Bind.Kind]
        FILE: _ClassVar[Bind.Kind]
        DIRECTORY: _ClassVar[Bind.Kind]
    KIND_UNSPECIFIED: Bind.Kind
    FILE: Bind.Kind
    DIRECTORY: Bind.Kind
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    IF_EXISTS_FIELD_NUMBER: _ClassVar[int]
    DANGER_EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    source: str
    kind: Bind.Kind
    writable: bool
    if_exists: bool
    danger_executable: bool
    def __init__(self, source: _Optional[str] = ..., kind: _Optional[_Union[Bind.Kind, str]] = ..., writable: bool = ..., if_exists: bool = ..., danger_executable: bool = ...) -> None: ...

class Tmpfs(_message.Message):
    __slots__ = ("size", "inodes", "mode", "danger_executable")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    INODES_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    DANGER_EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    size: str
    inodes: int
    mode: int
    danger_executable: bool
    def __init__(self, size: _Optional[str] = ..., inodes: _Optional[int] = ..., mode: _Optional[int] = ..., danger_executable: bool = ...) -> None: ...

class Proc(_message.Message):
    __slots__ = ("full",)
    FULL_FIELD_NUMBER: _ClassVar[int]
    full: bool
    def __init__(self, full: bool = ...) -> None: ...

class Dev(_message.Message):
    __slots__ = ("pts", "shm")
    PTS_FIELD_NUMBER: _ClassVar[int]
    SHM_FIELD_NUMBER: _ClassVar[int]
    pts: bool
    shm: bool
    def __init__(self, pts: bool = ..., shm: bool = ...) -> None: ...

class Overlay(_message.Message):
    __slots__ = ("source", "keep_in", "size")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KEEP_IN_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    source: str
    keep_in: str
    size: str
    def __init__(self, source: _Optional[str] = ..., keep_in: _Optional[str] = ..., size: _Optional[str] = ...) -> None: ...

class Symlink(_message.Message):
    __slots__ = ("points_to",)
    POINTS_TO_FIELD_NUMBER: _ClassVar[int]
    points_to: str
    def __init__(self, points_to: _Optional[str] = ...) -> None: ...

class Generated(_message.Message):
    __slots__ = ("content", "mode")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    mode: int
    def __init__(self, content: _Optional[bytes] = ..., mode: _Optional[int] = ...) -> None: ...

class Mask(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Mqueue(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Network(_message.Message):
    __slots__ = ("mode", "allow", "refuse_quietly")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NONE: _ClassVar[Network.Mode]
        LOOPBACK: _ClassVar[Network.Mode]
        DANGER_HOST: _ClassVar[Network.Mode]
        BROKERED: _ClassVar[Network.Mode]
    NONE: Network.Mode
    LOOPBACK: Network.Mode
    DANGER_HOST: Network.Mode
    BROKERED: Network.Mode
    MODE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    REFUSE_QUIETLY_FIELD_NUMBER: _ClassVar[int]
    mode: Network.Mode
    allow: _containers.RepeatedCompositeFieldContainer[Destination]
    refuse_quietly: bool
    def __init__(self, mode: _Optional[_Union[Network.Mode, str]] = ..., allow: _Optional[_Iterable[_Union[Destination, _Mapping[str, _Any]]]] = ..., refuse_quietly: bool = ...) -> None: ...

class Destination(_message.Message):
    __slots__ = ("address", "port", "protocol")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    address: str
    port: _containers.RepeatedScalarFieldContainer[str]
    protocol: str
    def __init__(self, address: _Optional[str] = ..., port: _Optional[_Iterable[str]] = ..., protocol: _Optional[str] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("wall_time", "cpu_time", "idle_time", "memory", "address_space", "processes", "open_files", "file_size", "output", "disk", "stack", "data", "locked_memory", "nice", "cpu_percent", "cpus", "io_bandwidth")
    WALL_TIME_FIELD_NUMBER: _ClassVar[int]
    CPU_TIME_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIME_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_SPACE_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    OPEN_FILES_FIELD_NUMBER: _ClassVar[int]
    FILE_SIZE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    DISK_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LOCKED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    NICE_FIELD_NUMBER: _ClassVar[int]
    CPU_PERCENT_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    IO_BANDWIDTH_FIELD_NUMBER: _ClassVar[int]
    wall_time: str
    cpu_time: str
    idle_time: str
    memory: str
    address_space: str
    processes: int
    open_files: int
    file_size: str
    output: str
    disk: str
    stack: str
    data: str
    locked_memory: str
    nice: int
    cpu_percent: int
    cpus: int
    io_bandwidth: str
    def __init__(self, wall_time: _Optional[str] = ..., cpu_time: _Optional[str] = ..., idle_time: _Optional[str] = ..., memory: _Optional[str] = ..., address_space: _Optional[str] = ..., processes: _Optional[int] = ..., open_files: _Optional[int] = ..., file_size: _Optional[str] = ..., output: _Optional[str] = ..., disk: _Optional[str] = ..., stack: _Optional[str] = ..., data: _Optional[str] = ..., locked_memory: _Optional[str] = ..., nice: _Optional[int] = ..., cpu_percent: _Optional[int] = ..., cpus: _Optional[int] = ..., io_bandwidth: _Optional[str] = ...) -> None: ...

class Options(_message.Message):
    __slots__ = ("hostname", "domainname", "uid", "gid", "fake_root", "without_init", "danger_share_namespace", "optional_layer", "apparmor_profile", "selinux_context", "danger_speculation", "unknown_syscalls_enosys")
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    DOMAINNAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    FAKE_ROOT_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_INIT_FIELD_NUMBER: _ClassVar[int]
    DANGER_SHARE_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_LAYER_FIELD_NUMBER: _ClassVar[int]
    APPARMOR_PROFILE_FIELD_NUMBER: _ClassVar[int]
    SELINUX_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DANGER_SPECULATION_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_SYSCALLS_ENOSYS_FIELD_NUMBER: _ClassVar[int]
    hostname: str
    domainname: str
    uid: int
    gid: int
    fake_root: bool
    without_init: bool
    danger_share_namespace: _containers.RepeatedScalarFieldContainer[str]
    optional_layer: _containers.RepeatedScalarFieldContainer[str]
    apparmor_profile: str
    selinux_context: str
    danger_speculation: bool
    unknown_syscalls_enosys: bool
    def __init__(self, hostname: _Optional[str] = ..., domainname: _Optional[str] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., fake_root: bool = ..., without_init: bool = ..., danger_share_namespace: _Optional[_Iterable[str]] = ..., optional_layer: _Optional[_Iterable[str]] = ..., apparmor_profile: _Optional[str] = ..., selinux_context: _Optional[str] = ..., danger_speculation: bool = ..., unknown_syscalls_enosys: bool = ...) -> None: ...
