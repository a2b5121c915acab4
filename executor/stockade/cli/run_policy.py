"""The policy of `stockade run`: a file or a ready-made one, the program's files if it names none, and the mounts."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from stockade._proto import policy_pb2
from stockade.cli.program import DEFAULT_PATH, find_program
from stockade.cli.run_options import DEFAULT_PROFILE, MountOption, RunOptions
from stockade.errors import PolicyError, SetupError
from stockade.host.inside import Inside
from stockade.policy.box.libraries import libraries_for_binary
from stockade.policy.box.paths import is_beneath, path_problem
from stockade.policy.policy import Policy
from stockade.policy.validate_files import describe, mount_findings

_Bind = policy_pb2.Bind


def make_policy(options: RunOptions) -> tuple[Policy, str | None]:
    """Return the policy to run under, and the program's path when it had to be looked up on the host.

    Raises PolicyError for what is wrong with the policy or a mount, SetupError for a program, or a source of a mount,
    that is missing.
    """
    if options.policy is not None:
        policy = Policy.load(options.policy, options.variables)
    else:
        policy = Policy.profile(options.profile or DEFAULT_PROFILE, options.variables)
    message = policy.message
    program = _program_to_add(message.filesystem, options)
    if program is None and not options.mounts:
        return policy, None
    if program is not None:
        _add_program(message.filesystem, program)
    if options.mounts:
        _add_mounts(message.filesystem, options.mounts)
    return policy.with_filesystem(message.filesystem), program


def inner_directory(message: policy_pb2.Policy) -> str:
    """Return the caller's working directory when the box has it, else "/".

    It has it when it is shown at the same path, or when something beneath it is: then its name exists, with that in it.
    """
    binds = [
        (mount.target, mount.bind.source, mount.bind.kind == _Bind.DIRECTORY)
        for mount in message.filesystem.mounts
        if mount.WhichOneof("kind") == "bind"
    ]
    try:
        directory = os.getcwd()
        place = Inside(binds).locate(directory)
        if place.host is not None and os.path.isdir(place.host) and os.path.samefile(place.host, directory):
            return directory
        certain = [mount.target for mount in message.filesystem.mounts if not mount.bind.if_exists]
        if place.host is None and any(is_beneath(target, directory) for target in certain):
            return directory
    except OSError:
        pass  # it is gone, or cannot be reached from here
    return "/"


def _program_to_add(filesystem: policy_pb2.FileSystem, options: RunOptions) -> str | None:
    """Return the path on the host of a program that has to be added to the box, None when there is nothing to add.

    A policy that names no program, as the base profiles, is for any: the one of the command line is added. It names one
    by `libraries_for_binary`, by `python`, or by a mount that shows it.
    """
    if filesystem.libraries_for_binary or filesystem.python or filesystem.HasField("root"):
        return None
    name = options.command[0]
    search = options.env.get("PATH") or DEFAULT_PATH
    paths = [os.path.abspath(name)] if "/" in name else [os.path.join(each, name) for each in search.split(":")]
    if _shows(filesystem.mounts, paths):
        return None
    try:
        return find_program(name)
    except SetupError:
        if _shows([_mount(option) for option in options.mounts], paths):
            return None
        raise


def _shows(mounts: Iterable[policy_pb2.Mount], paths: Iterable[str]) -> bool:
    """Say whether one of the paths inside leads to something of the host."""
    binds, links = [], []
    for mount in mounts:
        if mount.HasField("bind"):
            binds.append((mount.target, mount.bind.source, mount.bind.kind == _Bind.DIRECTORY))
        elif mount.HasField("symlink"):
            links.append((mount.target, mount.symlink.points_to))
    box = Inside(binds, links)
    return any(path.startswith("/") and box.locate(path).host is not None for path in paths)


def _add_program(filesystem: policy_pb2.FileSystem, program: str) -> None:
    problem = path_problem(program, "path of the program")
    if problem:
        raise PolicyError(problem, path=program)
    filesystem.libraries_for_binary.append(program)
    try:
        needs_proc = libraries_for_binary(program).needs_proc
    except PolicyError as error:
        # What would be wrong in a policy is here a program that no kernel can execute.
        detail = error.message.removeprefix("libraries_for_binary: ")
        refusal = SetupError("find_program", errno.ENOEXEC, None, detail=detail)
        refusal.path = program
        raise refusal from None
    # The loader asks /proc for the program's own place when it looks for libraries relative to it.
    if needs_proc is not None and all(mount.target != "/proc" for mount in filesystem.mounts):
        filesystem.mounts.add(target="/proc", proc=policy_pb2.Proc())


def _add_mounts(filesystem: policy_pb2.FileSystem, options: tuple[MountOption, ...]) -> None:
    """Add the mounts of options; parents come before what lies beneath them, as the builder orders them."""
    mounts = {mount.target: mount for mount in filesystem.mounts}
    for option in options:
        mount = _mount(option)
        present = mounts.setdefault(mount.target, mount)
        if present != mount:
            raise PolicyError(f"something else is shown there: {describe(present)}", source=_place(option))
    del filesystem.mounts[:]
    filesystem.mounts.extend(sorted(mounts.values(), key=lambda mount: mount.target.count("/")))


def _place(option: MountOption) -> str:
    target = f":{option.target}" if option.target != option.source else ""
    return f"{option.option} {option.source}{target}"


def _mount(option: MountOption) -> policy_pb2.Mount:
    where = _place(option)
    for path, what in ((option.source, "source"), (option.target, "target")):
        problem = path_problem(path, what)
        if problem:
            raise PolicyError(problem, source=where, path=path)
    try:
        is_directory = stat.S_ISDIR(os.stat(option.source).st_mode)
    except OSError as error:
        hint = f"{option.option} shows what there is on the host: create it, or correct the path"
        raise SetupError("open_source", error.errno or 0, option.source, hint) from None
    kind = _Bind.DIRECTORY if is_directory else _Bind.FILE
    bind = _Bind(source=option.source, kind=kind, writable=option.writable)
    mount = policy_pb2.Mount(target=option.target, bind=bind)
    for finding in mount_findings(mount):
        raise PolicyError(finding.message, source=where, path=option.source)
    return mount
