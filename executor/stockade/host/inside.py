"""Where a path inside the box comes from: which file of the host it shows, symbolic links of both sides included."""

from __future__ import annotations

import errno as errors
import os
from collections.abc import Iterator, Sequence

# The kernel follows this many symbolic links in one path (path_resolution(7)).
MAX_LINKS = 40
MAX_NAMES = 4096


class Place:
    """What a path inside leads to."""

    __slots__ = ("at", "host", "mount", "fault")

    def __init__(self, at: str, host: str | None = None, mount: str = "", fault: int = 0) -> None:
        # The path inside at which the walk ended, without symbolic links.
        self.at = at
        # The file or directory of the host that is there; None: nothing of the host.
        self.host = host
        # Target of the mount that shows it.
        self.mount = mount
        # ENOTDIR, ELOOP or EACCES when the walk could not go on; `at` is where.
        self.fault = fault


class Inside:
    """The binds and symbolic links of a plan, for looking paths up."""

    def __init__(self, binds: Sequence[tuple[str, str, bool]], symlinks: Sequence[tuple[str, str]] = ()) -> None:
        self._binds = {target: (source, is_directory) for target, source, is_directory in binds}
        self._links = dict(symlinks)

    def locate(self, path: str) -> Place:
        """Walk the absolute `path` as the kernel would inside, and say where it ends."""
        followed = 0
        names = _parts(path)
        place = Place("/")
        while names:
            name = names.pop(0)
            above = "" if place.at == "/" else place.at
            if name == "..":
                place = self._look(os.path.dirname(above))
                continue
            at = f"{above}/{name}"
            link = self._link(at)
            if link is not None:
                followed += 1
                names = [*_parts(link), *names]
                if followed > MAX_LINKS or len(names) > MAX_NAMES:
                    return Place(path, fault=errors.ELOOP)
                place = Place("/") if link.startswith("/") else place
                continue
            place = self._look(at)
            if place.fault:
                return place
            if names and place.host is not None and not os.path.isdir(place.host):
                return Place(at, fault=errors.ENOTDIR)
        return place

    def _link(self, at: str) -> str | None:
        """Return what the symbolic link at `at` says; None when there is none."""
        if at in self._links:
            return self._links[at]
        host, _ = self._shown_by(at)
        if host is None or at in self._binds:
            return None
        try:
            return os.readlink(host)
        except (OSError, ValueError):
            return None

    def _look(self, at: str) -> Place:
        """Return the place at `at`, which is no symbolic link inside."""
        host, mount = self._shown_by(at)
        if host is None:
            return Place(at or "/")
        try:
            os.stat(host)
        except PermissionError:
            return Place(at, fault=errors.EACCES)
        except (OSError, ValueError):
            return Place(at)
        return Place(at, host, mount)

    def _shown_by(self, at: str) -> tuple[str | None, str]:
        """Return the host path, and the target of the innermost bind, that show `at`."""
        for target in _upwards(at):
            if target in self._binds:
                source, is_directory = self._binds[target]
                if target == at:
                    return source, target
                return (source + at.removeprefix(target), target) if is_directory else (None, "")
        return None, ""


def _parts(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _upwards(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
