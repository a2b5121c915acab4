"""Run by root: sources that the unprivileged host uid can use, through id-mapped mounts. mount_setattr(2)."""

from __future__ import annotations

import os

from stockade._proto.lean import MountOperation
from stockade.kernel import mount, process
from stockade.sandboxee import identity, mounts
from stockade.sandboxee.steps import Step, StepError

READ, READ_AND_SEARCH = 0o4, 0o5

# One user namespace for each (owner, group) of a source; the process keeps them as long as it lives.
_namespaces: dict[tuple[int, int], int] = {}


def open_usable_source(operation: MountOperation) -> int | None:
    """`mounts.open_source`, then shown as owned by the sandboxee where it could not be used as asked otherwise.

    What is writable always is: files that the sandboxee makes come back owned by the source's owner. A read-only source
    is only where its top does not admit others. None for operations without a source.
    """
    source = mounts.open_source(operation) if mounts.is_bind(operation) else None
    if source is None:
        return None
    status = os.fstat(source)
    if operation.device or not _needs_idmap(status, operation):
        return source
    try:
        mount.set_idmap(source, _namespace(status.st_uid, status.st_gid), operation.source)
    except OSError as error:
        os.close(source)
        detail = (
            f"owned by uid {status.st_uid}, and its file system cannot show it as owned by the unprivileged uid "
            f"{identity.host_ids()[0]} that the program runs as"
        )
        raise StepError("idmap", error.errno or 0, operation.source, detail) from error
    return source


def _needs_idmap(status: os.stat_result, operation: MountOperation) -> bool:
    if status.st_uid == identity.host_ids()[0]:
        return False
    wanted = READ_AND_SEARCH if operation.kind == MountOperation.BIND_DIRECTORY else READ
    return operation.writable or status.st_mode & wanted != wanted


def _namespace(uid: int, gid: int) -> int:
    """A descriptor of a user namespace that maps the owner of a source to the sandboxee's host ids."""
    key = (uid, gid)
    if key not in _namespaces:
        with Step("idmap", f"user namespace for uid {uid}"):
            gate, own_end = os.pipe()
            pid, pidfd = process.clone(process.CLONE_NEWUSER)
            if pid == 0:
                os.close(own_end)
                os.read(gate, 1)
                os._exit(0)
            try:
                identity.write_id_maps(None, str(pid), key, identity.host_ids())
                _namespaces[key] = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            finally:
                for descriptor in (gate, own_end, pidfd):
                    os.close(descriptor)
    return _namespaces[key]
