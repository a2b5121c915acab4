"""The disk cache of text policies: what an unchanged text was read as, and the programs that its rules compiled to.

A key stands for everything that determines an entry: the text, its name, the values of variables, the schema, and the
code that read and compiled it. Every failure means "not cached": what is read from here is what would be made anew.
The format is cache.proto.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

import stockade
from stockade import __version__
from stockade._proto import cache_pb2, policy_pb2
from stockade.kernel.architectures import native
from stockade.policy.caching import directory as cache_directory
from stockade.policy.caching.compiled import Compiled
from stockade.policy.caching.directory import directory_path
from stockade.policy.places import Places
from stockade.policy.text.origin import digest_of
from stockade.policy.text.surroundings import surroundings

if TYPE_CHECKING:
    from _typeshed import StrPath

    from stockade.policy.text.reading import ParsedText

__all__ = ["CachedText", "directory_path", "load_program", "load_text", "save_program", "save_text"]

FORMAT = 1
# Parts of the package whose code determines what a text means and what it compiles to.
_PARTS = ("policy", "kernel", "_proto")
_Content = TypeVar("_Content", bound=Message)


@dataclass(frozen=True, slots=True)
class CachedText:
    """What a text policy was read as: the validated message, and the places of its lines."""

    message: policy_pb2.Policy
    places: Places


def load_text(path: StrPath, given: Mapping[str, str] | None = None) -> CachedText | None:
    """Give what the file `path` was read as with the variables `given`, if nothing that it depends on has changed."""
    path, given = os.fspath(path), given or {}
    with cache_directory.opened() as directory:
        if directory is None:
            return None
        content = _load(directory, _text_key(path, given), cache_pb2.CachedPolicy())
    if content is None or not _holds(content):
        return None
    places = _places(content.places)
    try:
        message = policy_pb2.Policy.FromString(content.policy)
    except DecodeError:
        return None
    return CachedText(message, places) if places is not None else None


def save_text(path: StrPath, read: ParsedText, given: Mapping[str, str] | None = None) -> bool:
    """Keep what the file `path` was read as with the variables `given`; whether it is worth while to ask for it."""
    if not read.sources or not all(_is_regular(source.path) for source in read.sources):
        return False
    content = cache_pb2.CachedPolicy(policy=read.message.SerializeToString(deterministic=True))
    for each in dataclasses.fields(Places):
        value = getattr(read.places, each.name)
        content.places.add(kind=each.name, place=[_bytes(place) for place in _listed(value)])
    for source in read.sources:
        content.sources.add(path=os.fsencode(source.path), digest=source.digest)
    for name, text in sorted(read.variables.items()):
        content.variables.add(name=name, value=_bytes(text))
    _save(_text_key(os.fspath(path), given or {}), content)
    return True


def load_program(key: bytes, places: Places, architecture: str, mode: str) -> Compiled | None:
    """Give the compiled form of the policy with the syscall key `key` that was written at `places`, if it is there."""
    with cache_directory.opened() as directory:
        name = _program_key(key, places, architecture, mode)
        content = _load(directory, name, cache_pb2.CachedProgram()) if directory is not None else None
    if content is None:
        return None
    return Compiled(content.program, tuple(content.hook), content.admits_sockets, frozenset(content.reopened))


def save_program(key: bytes, places: Places, architecture: str, mode: str, compiled: Compiled) -> None:
    """Keep a compiled program."""
    content = cache_pb2.CachedProgram(
        program=compiled.program,
        hook=compiled.hooks,
        admits_sockets=compiled.admits_sockets,
        reopened=sorted(compiled.reopened),
    )
    _save(_program_key(key, places, architecture, mode), content)


def _load(directory: int, key: bytes, content: _Content) -> _Content | None:
    """Fill `content` from the entry of `key`; None when there is no such entry, or it is not as it was written."""
    data = cache_directory.read(directory, key.hex()) if key else None
    if data is None:
        return None
    try:
        entry = cache_pb2.CacheEntry.FromString(data)
        if entry.format != FORMAT or entry.key != key or entry.checksum != digest_of(key + entry.content):
            return None
        content.ParseFromString(entry.content)
    except DecodeError:
        return None
    return content


def _save(key: bytes, content: Message) -> None:
    # When the code was replaced under the running process, nobody knows which of the two made this.
    if not key or _state_of_code() != _CODE_LOADED:
        return
    data = content.SerializeToString(deterministic=True)
    entry = cache_pb2.CacheEntry(format=FORMAT, key=key, content=data, checksum=digest_of(key + data))
    with cache_directory.opened(create=True) as directory:
        if directory is not None:
            cache_directory.write(directory, key.hex(), entry.SerializeToString())


def _text_key(path: str, given: Mapping[str, str]) -> bytes:
    # The name counts because it is part of the places; what it leads to, because includes are looked up beside it.
    variables = [part for name in sorted(given) for part in (name, given[name])]
    try:
        return _key("text", path, os.path.realpath(path), *variables)
    except ValueError:
        return b""  # no file can have that name


def _program_key(key: bytes, places: Places, architecture: str, mode: str) -> bytes:
    # Whether a rule may be hidden by another one hangs on where both were written.
    return _key("program", key.hex(), repr(places), architecture, mode)


def _key(*parts: str) -> bytes:
    """Give the key for what the strings determine together with the code and the machine; empty if that is unknown."""
    return digest_of(b"".join(_framed(_bytes(part)) for part in (_CODE_LOADED, *parts))) if _CODE_LOADED else b""


def _framed(part: bytes) -> bytes:
    return len(part).to_bytes(8, "little") + part


def _state_of_code() -> str:
    """Identify the code and the schema; empty when the code does not lie in plain files.

    By state of the files, not by version alone: a source tree changes without one.
    """
    try:
        states = list(_states(_package(), deep=False))
        states += [state for part in _PARTS for state in _states(os.path.join(_package(), part))]
    except OSError:
        return ""
    schema = digest_of(policy_pb2.DESCRIPTOR.serialized_pb).hex()
    return "\n".join((str(FORMAT), __version__, schema, native().name, *sorted(states)))


def _package() -> str:
    return os.path.dirname(stockade.__file__)


def _states(directory: str, *, deep: bool = True) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if deep and entry.is_dir():
                yield from _states(entry.path)
            elif entry.name.endswith(".py"):
                status = entry.stat()
                yield f"{entry.path}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _holds(content: cache_pb2.CachedPolicy) -> bool:
    """Say whether the files and the surroundings that an entry was made from are still the same."""
    return (
        len(content.sources) > 0
        and all(surroundings(each.name) == _text(each.value) for each in content.variables)
        and all(_is_unchanged(os.fsdecode(each.path), each.digest) for each in content.sources)
    )


def _is_regular(path: str) -> bool:
    """Say whether a path leads to a regular file: what comes from a pipe is not the same a second time."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _is_unchanged(path: str, digest: bytes) -> bool:
    if not _is_regular(path):
        return False
    try:
        with open(path, "rb", buffering=0) as file:
            return digest_of(file.read()) == digest
    except OSError:
        return False


def _places(stored: Iterable[cache_pb2.CachedPlaces]) -> Places | None:
    values = {each.kind: tuple(_text(place) for place in each.place) for each in stored}
    fields = {each.name: each.default for each in dataclasses.fields(Places)}
    if set(values) != set(fields):
        return None
    lists = {name: values[name] for name, default in fields.items() if not isinstance(default, str)}
    return Places(**lists, **{name: "".join(values[name]) for name in set(fields) - set(lists)})  # type: ignore[arg-type]


def _listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


_CODE_LOADED = _state_of_code()
