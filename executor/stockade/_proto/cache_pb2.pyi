from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CacheEntry(_message.Message):
    __slots__ = ("format", "key", "content", "checksum")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    format: int
    key: bytes
    content: bytes
    checksum: bytes
    def __init__(self, format: _Optional[int] = ..., key: _Optional[bytes] = ..., content: _Optional[bytes] = ..., checksum: _Optional[bytes] = ...) -> None: ...

class CachedPolicy(_message.Message):
    __slots__ = ("policy", "places", "sources", "variables")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    policy: bytes
    places: _containers.RepeatedCompositeFieldContainer[CachedPlaces]
    sources: _containers.RepeatedCompositeFieldContainer[CachedSource]
    variables: _containers.RepeatedCompositeFieldContainer[CachedVariable]
    def __init__(self, policy: _Optional[bytes] = ..., places: _Optional[_Iterable[_Union[CachedPlaces, _Mapping[str, _Any]]]] = ..., sources: _Optional[_Iterable[_Union[CachedSource, _Mapping[str, _Any]]]] = ..., variables: _Optional[_Iterable[_Union[CachedVariable, _Mapping[str, _Any]]]] = ...) -> None: ...

class CachedPlaces(_message.Message):
    __slots__ = ("kind", "place")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    place: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, kind: _Optional[str] = ..., place: _Optional[_Iterable[bytes]] = ...) -> None: ...

class CachedSource(_message.Message):
    __slots__ = ("path", "digest")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    digest: bytes
    def __init__(self, path: _Optional[bytes] = ..., digest: _Optional[bytes] = ...) -> None: ...

class CachedVariable(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class CachedProgram(_message.Message):
    __slots__ = ("program", "hook", "admits_sockets", "reopened")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    HOOK_FIELD_NUMBER: _ClassVar[int]
    ADMITS_SOCKETS_FIELD_NUMBER: _ClassVar[int]
    REOPENED_FIELD_NUMBER: _ClassVar[int]
    program: bytes
    hook: _containers.RepeatedScalarFieldContainer[str]
    admits_sockets: bool
    reopened: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, program: _Optional[bytes] = ..., hook: _Optional[_Iterable[str]] = ..., admits_sockets: bool = ..., reopened: _Optional[_Iterable[str]] = ...) -> None: ...
