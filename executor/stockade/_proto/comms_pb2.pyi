from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ForkRequest(_message.Message):
    __slots__ = ("template", "run_mounts", "box", "spare", "opener")
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    RUN_MOUNTS_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    SPARE_FIELD_NUMBER: _ClassVar[int]
    OPENER_FIELD_NUMBER: _ClassVar[int]
    template: bytes
    run_mounts: _containers.RepeatedCompositeFieldContainer[MountOperation]
    box: BoxOptions
    spare: bool
    opener: Opener
    def __init__(self, template: _Optional[bytes] = ..., run_mounts: _Optional[_Iterable[_Union[MountOperation, _Mapping[str, _Any]]]] = ..., box: _Optional[_Union[BoxOptions, _Mapping[str, _Any]]] = ..., spare: bool = ..., opener: _Optional[_Union[Opener, _Mapping[str, _Any]]] = ...) -> None: ...

class Opener(_message.Message):
    __slots__ = ("uid", "gid")
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    uid: int
    gid: int
    def __init__(self, uid: _Optional[int] = ..., gid: _Optional[int] = ...) -> None: ...

class OpenFile(_message.Message):
    __slots__ = ("path", "unreadable_path", "flags", "mode", "resolve", "umask", "pid", "tid")
    PATH_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_PATH_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    RESOLVE_FIELD_NUMBER: _ClassVar[int]
    UMASK_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    TID_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    unreadable_path: bool
    flags: int
    mode: int
    resolve: int
    umask: int
    pid: int
    tid: int
    def __init__(self, path: _Optional[bytes] = ..., unreadable_path: bool = ..., flags: _Optional[int] = ..., mode: _Optional[int] = ..., resolve: _Optional[int] = ..., umask: _Optional[int] = ..., pid: _Optional[int] = ..., tid: _Optional[int] = ...) -> None: ...

class OpenedFile(_message.Message):
    __slots__ = ("errno",)
    ERRNO_FIELD_NUMBER: _ClassVar[int]
    errno: int
    def __init__(self, errno: _Optional[int] = ...) -> None: ...

class TemplatePlan(_message.Message):
    __slots__ = ("mounts", "mount_points", "uid", "gid", "leaves_host_root", "host_network")
    MOUNTS_FIELD_NUMBER: _ClassVar[int]
    MOUNT_POINTS_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    LEAVES_HOST_ROOT_FIELD_NUMBER: _ClassVar[int]
    HOST_NETWORK_FIELD_NUMBER: _ClassVar[int]
    mounts: _containers.RepeatedCompositeFieldContainer[MountOperation]
    mount_points: _containers.RepeatedCompositeFieldContainer[MountPoint]
    uid: int
    gid: int
    leaves_host_root: bool
    host_network: bool
    def __init__(self, mounts: _Optional[_Iterable[_Union[MountOperation, _Mapping[str, _Any]]]] = ..., mount_points: _Optional[_Iterable[_Union[MountPoint, _Mapping[str, _Any]]]] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., leaves_host_root: bool = ..., host_network: bool = ...) -> None: ...

class MountPoint(_message.Message):
    __slots__ = ("path", "directory")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    path: str
    directory: bool
    def __init__(self, path: _Optional[str] = ..., directory: bool = ...) -> None: ...

class MountOperation(_message.Message):
    __slots__ = ("kind", "target", "source", "writable", "executable", "if_exists", "size", "inodes", "mode", "full", "device")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[MountOperation.Kind]
        BIND_FILE: _ClassVar[MountOperation.Kind]
        BIND_DIRECTORY: _ClassVar[MountOperation.Kind]
        TMPFS: _ClassVar[MountOperation.Kind]
        PROC: _ClassVar[MountOperation.Kind]
        SYMLINK: _ClassVar[MountOperation.Kind]
        DIRECTORY: _ClassVar[MountOperation.Kind]
    KIND_UNSPECIFIED: MountOperation.Kind
    BIND_FILE: MountOperation.Kind
    BIND_DIRECTORY: MountOperation.Kind
    TMPFS: MountOperation.Kind
    PROC: MountOperation.Kind
    SYMLINK: MountOperation.Kind
    DIRECTORY: MountOperation.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    IF_EXISTS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    INODES_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    kind: MountOperation.Kind
    target: str
    source: str
    writable: bool
    executable: bool
    if_exists: bool
    size: int
    inodes: int
    mode: int
    full: bool
    device: bool
    def __init__(self, kind: _Optional[_Union[MountOperation.Kind, str]] = ..., target: _Optional[str] = ..., source: _Optional[str] = ..., writable: bool = ..., executable: bool = ..., if_exists: bool = ..., size: _Optional[int] = ..., inodes: _Optional[int] = ..., mode: _Optional[int] = ..., full: bool = ..., device: bool = ...) -> None: ...

class BoxOptions(_message.Message):
    __slots__ = ("hostname", "loopback", "domainname", "shared_network", "reports_end", "keeps_proc")
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    LOOPBACK_FIELD_NUMBER: _ClassVar[int]
    DOMAINNAME_FIELD_NUMBER: _ClassVar[int]
    SHARED_NETWORK_FIELD_NUMBER: _ClassVar[int]
    REPORTS_END_FIELD_NUMBER: _ClassVar[int]
    KEEPS_PROC_FIELD_NUMBER: _ClassVar[int]
    hostname: str
    loopback: bool
    domainname: str
    shared_network: bool
    reports_end: bool
    keeps_proc: bool
    def __init__(self, hostname: _Optional[str] = ..., loopback: bool = ..., domainname: _Optional[str] = ..., shared_network: bool = ..., reports_end: bool = ..., keeps_proc: bool = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ended(_message.Message):
    __slots__ = ("status", "usage")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    status: int
    usage: bytes
    def __init__(self, status: _Optional[int] = ..., usage: _Optional[bytes] = ...) -> None: ...

class Launch(_message.Message):
    __slots__ = ("policy", "policy_digest", "programs", "program", "program_descriptor", "argv", "env", "cwd", "descriptors", "rlimits", "umask", "nice", "danger_speculation", "cpus", "listener_flags", "deferred")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROGRAMS_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    RLIMITS_FIELD_NUMBER: _ClassVar[int]
    UMASK_FIELD_NUMBER: _ClassVar[int]
    NICE_FIELD_NUMBER: _ClassVar[int]
    DANGER_SPECULATION_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    LISTENER_FLAGS_FIELD_NUMBER: _ClassVar[int]
    DEFERRED_FIELD_NUMBER: _ClassVar[int]
    policy: bytes
    policy_digest: bytes
    programs: _containers.RepeatedCompositeFieldContainer[CompiledProgram]
    program: bytes
    program_descriptor: bool
    argv: _containers.RepeatedScalarFieldContainer[bytes]
    env: _containers.RepeatedScalarFieldContainer[bytes]
    cwd: bytes
    descriptors: _containers.RepeatedScalarFieldContainer[int]
    rlimits: _containers.RepeatedCompositeFieldContainer[ResourceLimit]
    umask: int
    nice: int
    danger_speculation: bool
    cpus: _containers.RepeatedScalarFieldContainer[int]
    listener_flags: int
    deferred: bool
    def __init__(self, policy: _Optional[bytes] = ..., policy_digest: _Optional[bytes] = ..., programs: _Optional[_Iterable[_Union[CompiledProgram, _Mapping[str, _Any]]]] = ..., program: _Optional[bytes] = ..., program_descriptor: bool = ..., argv: _Optional[_Iterable[bytes]] = ..., env: _Optional[_Iterable[bytes]] = ..., cwd: _Optional[bytes] = ..., descriptors: _Optional[_Iterable[int]] = ..., rlimits: _Optional[_Iterable[_Union[ResourceLimit, _Mapping[str, _Any]]]] = ..., umask: _Optional[int] = ..., nice: _Optional[int] = ..., danger_speculation: bool = ..., cpus: _Optional[_Iterable[int]] = ..., listener_flags: _Optional[int] = ..., deferred: bool = ...) -> None: ...

class ResourceLimit(_message.Message):
    __slots__ = ("resource", "soft", "hard")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    SOFT_FIELD_NUMBER: _ClassVar[int]
    HARD_FIELD_NUMBER: _ClassVar[int]
    resource: int
    soft: int
    hard: int
    def __init__(self, resource: _Optional[int] = ..., soft: _Optional[int] = ..., hard: _Optional[int] = ...) -> None: ...

class CompiledProgram(_message.Message):
    __slots__ = ("architecture", "instructions", "digest", "mode")
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    architecture: int
    instructions: bytes
    digest: bytes
    mode: str
    def __init__(self, architecture: _Optional[int] = ..., instructions: _Optional[bytes] = ..., digest: _Optional[bytes] = ..., mode: _Optional[str] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("program",)
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    program: bytes
    def __init__(self, program: _Optional[bytes] = ...) -> None: ...

class Go(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Fork(_message.Message):
    __slots__ = ("run_mounts", "box", "uid", "gid")
    RUN_MOUNTS_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    run_mounts: _containers.RepeatedCompositeFieldContainer[MountOperation]
    box: BoxOptions
    uid: int
    gid: int
    def __init__(self, run_mounts: _Optional[_Iterable[_Union[MountOperation, _Mapping[str, _Any]]]] = ..., box: _Optional[_Union[BoxOptions, _Mapping[str, _Any]]] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ...) -> None: ...

class Serving(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetupFailure(_message.Message):
    __slots__ = ("step", "errno", "path", "detail")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ERRNO_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    step: str
    errno: int
    path: str
    detail: str
    def __init__(self, step: _Optional[str] = ..., errno: _Optional[int] = ..., path: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("started", "ready", "failure", "serving")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    started: Started
    ready: Ready
    failure: SetupFailure
    serving: Serving
    def __init__(self, started: _Optional[_Union[Started, _Mapping[str, _Any]]] = ..., ready: _Optional[_Union[Ready, _Mapping[str, _Any]]] = ..., failure: _Optional[_Union[SetupFailure, _Mapping[str, _Any]]] = ..., serving: _Optional[_Union[Serving, _Mapping[str, _Any]]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("launch", "go", "fork")
    LAUNCH_FIELD_NUMBER: _ClassVar[int]
    GO_FIELD_NUMBER: _ClassVar[int]
    FORK_FIELD_NUMBER: _ClassVar[int]
    launch: Launch
    go: Go
    fork: Fork
    def __init__(self, launch: _Optional[_Union[Launch, _Mapping[str, _Any]]] = ..., go: _Optional[_Union[Go, _Mapping[str, _Any]]] = ..., fork: _Optional[_Union[Fork, _Mapping[str, _Any]]] = ...) -> None: ...
