from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_OK: _ClassVar[Status]
    STATUS_VIOLATION: _ClassVar[Status]
    STATUS_SIGNALED: _ClassVar[Status]
    STATUS_TIMEOUT: _ClassVar[Status]
    STATUS_LIMIT: _ClassVar[Status]
    STATUS_EXTERNAL_KILL: _ClassVar[Status]
    STATUS_SETUP_ERROR: _ClassVar[Status]
    STATUS_INTERNAL_ERROR: _ClassVar[Status]
STATUS_UNSPECIFIED: Status
STATUS_OK: Status
STATUS_VIOLATION: Status
STATUS_SIGNALED: Status
STATUS_TIMEOUT: Status
STATUS_LIMIT: Status
STATUS_EXTERNAL_KILL: Status
STATUS_SETUP_ERROR: Status
STATUS_INTERNAL_ERROR: Status

class Report(_message.Message):
    __slots__ = ("schema_version", "status", "reason", "returncode", "argv", "pid", "policy_name", "policy_digest", "mode", "violations", "violations_dropped", "layers", "usage", "limit", "limits", "setup_failure", "logged", "advisory_hooks", "started_at", "version", "monitor", "user_verdict", "flight_recorder", "flight_recorder_dropped", "trace_summary", "stacks", "abandoned_threads")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETURNCODE_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    POLICY_NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    SETUP_FAILURE_FIELD_NUMBER: _ClassVar[int]
    LOGGED_FIELD_NUMBER: _ClassVar[int]
    ADVISORY_HOOKS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MONITOR_FIELD_NUMBER: _ClassVar[int]
    USER_VERDICT_FIELD_NUMBER: _ClassVar[int]
    FLIGHT_RECORDER_FIELD_NUMBER: _ClassVar[int]
    FLIGHT_RECORDER_DROPPED_FIELD_NUMBER: _ClassVar[int]
    TRACE_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    STACKS_FIELD_NUMBER: _ClassVar[int]
    ABANDONED_THREADS_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    status: Status
    reason: Reason
    returncode: int
    argv: _containers.RepeatedScalarFieldContainer[str]
    pid: int
    policy_name: str
    policy_digest: str
    mode: str
    violations: _containers.RepeatedCompositeFieldContainer[Violation]
    violations_dropped: int
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    usage: Usage
    limit: LimitReached
    limits: _containers.RepeatedCompositeFieldContainer[LimitInForce]
    setup_failure: SetupFailureReport
    logged: _containers.RepeatedCompositeFieldContainer[LoggedCall]
    advisory_hooks: _containers.RepeatedScalarFieldContainer[str]
    started_at: float
    version: str
    monitor: str
    user_verdict: str
    flight_recorder: _containers.RepeatedCompositeFieldContainer[FlightEvent]
    flight_recorder_dropped: int
    trace_summary: TraceSummary
    stacks: _containers.RepeatedCompositeFieldContainer[ThreadStack]
    abandoned_threads: int
    def __init__(self, schema_version: _Optional[int] = ..., status: _Optional[_Union[Status, str]] = ..., reason: _Optional[_Union[Reason, _Mapping[str, _Any]]] = ..., returncode: _Optional[int] = ..., argv: _Optional[_Iterable[str]] = ..., pid: _Optional[int] = ..., policy_name: _Optional[str] = ..., policy_digest: _Optional[str] = ..., mode: _Optional[str] = ..., violations: _Optional[_Iterable[_Union[Violation, _Mapping[str, _Any]]]] = ..., violations_dropped: _Optional[int] = ..., layers: _Optional[_Iterable[_Union[Layer, _Mapping[str, _Any]]]] = ..., usage: _Optional[_Union[Usage, _Mapping[str, _Any]]] = ..., limit: _Optional[_Union[LimitReached, _Mapping[str, _Any]]] = ..., limits: _Optional[_Iterable[_Union[LimitInForce, _Mapping[str, _Any]]]] = ..., setup_failure: _Optional[_Union[SetupFailureReport, _Mapping[str, _Any]]] = ..., logged: _Optional[_Iterable[_Union[LoggedCall, _Mapping[str, _Any]]]] = ..., advisory_hooks: _Optional[_Iterable[str]] = ..., started_at: _Optional[float] = ..., version: _Optional[str] = ..., monitor: _Optional[str] = ..., user_verdict: _Optional[str] = ..., flight_recorder: _Optional[_Iterable[_Union[FlightEvent, _Mapping[str, _Any]]]] = ..., flight_recorder_dropped: _Optional[int] = ..., trace_summary: _Optional[_Union[TraceSummary, _Mapping[str, _Any]]] = ..., stacks: _Optional[_Iterable[_Union[ThreadStack, _Mapping[str, _Any]]]] = ..., abandoned_threads: _Optional[int] = ...) -> None: ...

class FlightEvent(_message.Message):
    __slots__ = ("at", "tid", "name", "text", "answer")
    AT_FIELD_NUMBER: _ClassVar[int]
    TID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    at: int
    tid: int
    name: str
    text: str
    answer: str
    def __init__(self, at: _Optional[int] = ..., tid: _Optional[int] = ..., name: _Optional[str] = ..., text: _Optional[str] = ..., answer: _Optional[str] = ...) -> None: ...

class TraceSummary(_message.Message):
    __slots__ = ("calls", "slowest")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    SLOWEST_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[TracedCall]
    slowest: _containers.RepeatedCompositeFieldContainer[SlowCall]
    def __init__(self, calls: _Optional[_Iterable[_Union[TracedCall, _Mapping[str, _Any]]]] = ..., slowest: _Optional[_Iterable[_Union[SlowCall, _Mapping[str, _Any]]]] = ...) -> None: ...

class TracedCall(_message.Message):
    __slots__ = ("syscall", "count", "errors", "total_time", "longest_time", "decision_time")
    SYSCALL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TIME_FIELD_NUMBER: _ClassVar[int]
    LONGEST_TIME_FIELD_NUMBER: _ClassVar[int]
    DECISION_TIME_FIELD_NUMBER: _ClassVar[int]
    syscall: str
    count: int
    errors: int
    total_time: float
    longest_time: float
    decision_time: float
    def __init__(self, syscall: _Optional[str] = ..., count: _Optional[int] = ..., errors: _Optional[int] = ..., total_time: _Optional[float] = ..., longest_time: _Optional[float] = ..., decision_time: _Optional[float] = ...) -> None: ...

class SlowCall(_message.Message):
    __slots__ = ("text", "time", "at", "tid")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    TID_FIELD_NUMBER: _ClassVar[int]
    text: str
    time: float
    at: int
    tid: int
    def __init__(self, text: _Optional[str] = ..., time: _Optional[float] = ..., at: _Optional[int] = ..., tid: _Optional[int] = ...) -> None: ...

class ThreadStack(_message.Message):
    __slots__ = ("pid", "tid", "name", "frames", "registers", "missing")
    class RegistersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PID_FIELD_NUMBER: _ClassVar[int]
    TID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    REGISTERS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    pid: int
    tid: int
    name: str
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    registers: _containers.ScalarMap[str, int]
    missing: str
    def __init__(self, pid: _Optional[int] = ..., tid: _Optional[int] = ..., name: _Optional[str] = ..., frames: _Optional[_Iterable[_Union[Frame, _Mapping[str, _Any]]]] = ..., registers: _Optional[_Mapping[str, int]] = ..., missing: _Optional[str] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("exit_code", "signal", "violation", "limit", "step", "internal", "killed_by", "si_code", "fault_address", "core")
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    VIOLATION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_FIELD_NUMBER: _ClassVar[int]
    KILLED_BY_FIELD_NUMBER: _ClassVar[int]
    SI_CODE_FIELD_NUMBER: _ClassVar[int]
    FAULT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CORE_FIELD_NUMBER: _ClassVar[int]
    exit_code: int
    signal: int
    violation: Violation.Kind
    limit: str
    step: str
    internal: str
    killed_by: str
    si_code: int
    fault_address: int
    core: bool
    def __init__(self, exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., violation: _Optional[_Union[Violation.Kind, str]] = ..., limit: _Optional[str] = ..., step: _Optional[str] = ..., internal: _Optional[str] = ..., killed_by: _Optional[str] = ..., si_code: _Optional[int] = ..., fault_address: _Optional[int] = ..., core: bool = ...) -> None: ...

class Violation(_message.Message):
    __slots__ = ("kind", "syscall", "number", "architecture", "raw_arguments", "arguments", "pid", "tid", "inner_pid", "program", "instruction_pointer", "stack_pointer", "module", "module_offset", "nearest_rule", "patch", "wider_patch", "count", "layer", "summary", "stack", "phase", "command_line", "object", "hook_message", "hook", "first_at", "last_at", "registers", "mapping", "parents", "allowed")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Violation.Kind]
        SYSCALL: _ClassVar[Violation.Kind]
        ARCHITECTURE: _ClassVar[Violation.Kind]
        HOOK: _ClassVar[Violation.Kind]
        HOOK_TIMEOUT: _ClassVar[Violation.Kind]
        NETWORK: _ClassVar[Violation.Kind]
        PATH: _ClassVar[Violation.Kind]
    KIND_UNSPECIFIED: Violation.Kind
    SYSCALL: Violation.Kind
    ARCHITECTURE: Violation.Kind
    HOOK: Violation.Kind
    HOOK_TIMEOUT: Violation.Kind
    NETWORK: Violation.Kind
    PATH: Violation.Kind
    class RegistersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    SYSCALL_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    RAW_ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    TID_FIELD_NUMBER: _ClassVar[int]
    INNER_PID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_POINTER_FIELD_NUMBER: _ClassVar[int]
    STACK_POINTER_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    MODULE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    NEAREST_RULE_FIELD_NUMBER: _ClassVar[int]
    PATCH_FIELD_NUMBER: _ClassVar[int]
    WIDER_PATCH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_LINE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    HOOK_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HOOK_FIELD_NUMBER: _ClassVar[int]
    FIRST_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_AT_FIELD_NUMBER: _ClassVar[int]
    REGISTERS_FIELD_NUMBER: _ClassVar[int]
    MAPPING_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    kind: Violation.Kind
    syscall: str
    number: int
    architecture: str
    raw_arguments: _containers.RepeatedScalarFieldContainer[int]
    arguments: _containers.RepeatedCompositeFieldContainer[Argument]
    pid: int
    tid: int
    inner_pid: int
    program: str
    instruction_pointer: int
    stack_pointer: int
    module: str
    module_offset: int
    nearest_rule: NearestRule
    patch: Patch
    wider_patch: Patch
    count: int
    layer: str
    summary: str
    stack: _containers.RepeatedCompositeFieldContainer[Frame]
    phase: str
    command_line: _containers.RepeatedScalarFieldContainer[str]
    object: str
    hook_message: str
    hook: str
    first_at: int
    last_at: int
    registers: _containers.ScalarMap[str, int]
    mapping: Mapping
    parents: _containers.RepeatedCompositeFieldContainer[ProcessInfo]
    allowed: bool
    def __init__(self, kind: _Optional[_Union[Violation.Kind, str]] = ..., syscall: _Optional[str] = ..., number: _Optional[int] = ..., architecture: _Optional[str] = ..., raw_arguments: _Optional[_Iterable[int]] = ..., arguments: _Optional[_Iterable[_Union[Argument, _Mapping[str, _Any]]]] = ..., pid: _Optional[int] = ..., tid: _Optional[int] = ..., inner_pid: _Optional[int] = ..., program: _Optional[str] = ..., instruction_pointer: _Optional[int] = ..., stack_pointer: _Optional[int] = ..., module: _Optional[str] = ..., module_offset: _Optional[int] = ..., nearest_rule: _Optional[_Union[NearestRule, _Mapping[str, _Any]]] = ..., patch: _Optional[_Union[Patch, _Mapping[str, _Any]]] = ..., wider_patch: _Optional[_Union[Patch, _Mapping[str, _Any]]] = ..., count: _Optional[int] = ..., layer: _Optional[str] = ..., summary: _Optional[str] = ..., stack: _Optional[_Iterable[_Union[Frame, _Mapping[str, _Any]]]] = ..., phase: _Optional[str] = ..., command_line: _Optional[_Iterable[str]] = ..., object: _Optional[str] = ..., hook_message: _Optional[str] = ..., hook: _Optional[str] = ..., first_at: _Optional[int] = ..., last_at: _Optional[int] = ..., registers: _Optional[_Mapping[str, int]] = ..., mapping: _Optional[_Union[Mapping, _Mapping[str, _Any]]] = ..., parents: _Optional[_Iterable[_Union[ProcessInfo, _Mapping[str, _Any]]]] = ..., allowed: bool = ...) -> None: ...

class Mapping(_message.Message):
    __slots__ = ("start", "end", "permissions", "offset", "path", "build_id")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    BUILD_ID_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    permissions: str
    offset: int
    path: str
    build_id: str
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ..., permissions: _Optional[str] = ..., offset: _Optional[int] = ..., path: _Optional[str] = ..., build_id: _Optional[str] = ...) -> None: ...

class ProcessInfo(_message.Message):
    __slots__ = ("pid", "inner_pid", "program", "command_line")
    PID_FIELD_NUMBER: _ClassVar[int]
    INNER_PID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    COMMAND_LINE_FIELD_NUMBER: _ClassVar[int]
    pid: int
    inner_pid: int
    program: str
    command_line: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pid: _Optional[int] = ..., inner_pid: _Optional[int] = ..., program: _Optional[str] = ..., command_line: _Optional[_Iterable[str]] = ...) -> None: ...

class Argument(_message.Message):
    __slots__ = ("name", "type", "value", "text", "descriptor_kind")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_KIND_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    value: int
    text: str
    descriptor_kind: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., value: _Optional[int] = ..., text: _Optional[str] = ..., descriptor_kind: _Optional[str] = ...) -> None: ...

class NearestRule(_message.Message):
    __slots__ = ("rule", "place", "difference")
    RULE_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    rule: str
    place: str
    difference: str
    def __init__(self, rule: _Optional[str] = ..., place: _Optional[str] = ..., difference: _Optional[str] = ...) -> None: ...

class Patch(_message.Message):
    __slots__ = ("builder_call", "text_line", "risk", "risk_reason", "refused_because")
    BUILDER_CALL_FIELD_NUMBER: _ClassVar[int]
    TEXT_LINE_FIELD_NUMBER: _ClassVar[int]
    RISK_FIELD_NUMBER: _ClassVar[int]
    RISK_REASON_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    builder_call: str
    text_line: str
    risk: str
    risk_reason: str
    refused_because: str
    def __init__(self, builder_call: _Optional[str] = ..., text_line: _Optional[str] = ..., risk: _Optional[str] = ..., risk_reason: _Optional[str] = ..., refused_because: _Optional[str] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("address", "module", "offset", "symbol", "found_by")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    FOUND_BY_FIELD_NUMBER: _ClassVar[int]
    address: int
    module: str
    offset: int
    symbol: str
    found_by: str
    def __init__(self, address: _Optional[int] = ..., module: _Optional[str] = ..., offset: _Optional[int] = ..., symbol: _Optional[str] = ..., found_by: _Optional[str] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("name", "state", "detail")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Layer.State]
        IN_FORCE: _ClassVar[Layer.State]
        DEGRADED: _ClassVar[Layer.State]
        LOST: _ClassVar[Layer.State]
        NOT_ASKED: _ClassVar[Layer.State]
    STATE_UNSPECIFIED: Layer.State
    IN_FORCE: Layer.State
    DEGRADED: Layer.State
    LOST: Layer.State
    NOT_ASKED: Layer.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: Layer.State
    detail: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[Layer.State, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("wall_time", "user_time", "system_time", "peak_rss", "minor_faults", "major_faults", "voluntary_switches", "involuntary_switches", "blocks_read", "blocks_written", "processes", "threads", "setup_time", "peak_cgroup_memory", "output_bytes")
    WALL_TIME_FIELD_NUMBER: _ClassVar[int]
    USER_TIME_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_TIME_FIELD_NUMBER: _ClassVar[int]
    PEAK_RSS_FIELD_NUMBER: _ClassVar[int]
    MINOR_FAULTS_FIELD_NUMBER: _ClassVar[int]
    MAJOR_FAULTS_FIELD_NUMBER: _ClassVar[int]
    VOLUNTARY_SWITCHES_FIELD_NUMBER: _ClassVar[int]
    INVOLUNTARY_SWITCHES_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_READ_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_WRITTEN_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    SETUP_TIME_FIELD_NUMBER: _ClassVar[int]
    PEAK_CGROUP_MEMORY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    wall_time: float
    user_time: float
    system_time: float
    peak_rss: int
    minor_faults: int
    major_faults: int
    voluntary_switches: int
    involuntary_switches: int
    blocks_read: int
    blocks_written: int
    processes: int
    threads: int
    setup_time: float
    peak_cgroup_memory: int
    output_bytes: int
    def __init__(self, wall_time: _Optional[float] = ..., user_time: _Optional[float] = ..., system_time: _Optional[float] = ..., peak_rss: _Optional[int] = ..., minor_faults: _Optional[int] = ..., major_faults: _Optional[int] = ..., voluntary_switches: _Optional[int] = ..., involuntary_switches: _Optional[int] = ..., blocks_read: _Optional[int] = ..., blocks_written: _Optional[int] = ..., processes: _Optional[int] = ..., threads: _Optional[int] = ..., setup_time: _Optional[float] = ..., peak_cgroup_memory: _Optional[int] = ..., output_bytes: _Optional[int] = ...) -> None: ...

class LimitReached(_message.Message):
    __slots__ = ("name", "allowed", "measured")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    name: str
    allowed: float
    measured: float
    def __init__(self, name: _Optional[str] = ..., allowed: _Optional[float] = ..., measured: _Optional[float] = ...) -> None: ...

class LimitInForce(_message.Message):
    __slots__ = ("name", "value", "mechanism")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MECHANISM_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    mechanism: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., mechanism: _Optional[str] = ...) -> None: ...

class SetupFailureReport(_message.Message):
    __slots__ = ("step", "errno", "path", "hint")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ERRNO_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    step: str
    errno: int
    path: str
    hint: str
    def __init__(self, step: _Optional[str] = ..., errno: _Optional[int] = ..., path: _Optional[str] = ..., hint: _Optional[str] = ...) -> None: ...

class LoggedCall(_message.Message):
    __slots__ = ("syscall", "count", "example")
    SYSCALL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    syscall: str
    count: int
    example: str
    def __init__(self, syscall: _Optional[str] = ..., count: _Optional[int] = ..., example: _Optional[str] = ...) -> None: ...
