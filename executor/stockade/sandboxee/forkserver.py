"""The forkserver: a small single-threaded process from which every sandboxee is forked.

It is started by the executor as `python -I -S` in a session of its own, gets its connection and a pidfd of its owner
as arguments, and leaves when either says that the owner is gone. It keeps one template for each file-system policy in
use.
"""

from __future__ import annotations

import gc
import os
import select
import time

from stockade._proto.lean import ForkRequest, TemplatePlan
from stockade._proto.wire import decode, encode
from stockade.comms.channel import Channel
from stockade.kernel import process, signals
from stockade.sandboxee import identity, mounts, opener, template
from stockade.sandboxee.idmap import open_usable_source
from stockade.sandboxee.steps import Step, StepError, report

MAXIMUM_TEMPLATES = 16
IDLE_SECONDS = 10.0


class Template:
    """What the forkserver knows of one template process."""

    __slots__ = ("channel", "identities", "pidfd", "plan", "used")

    def __init__(
        self, channel: Channel, pidfd: int, plan: TemplatePlan, identities: list[tuple[int, int, int] | None]
    ) -> None:
        self.channel, self.pidfd, self.plan, self.identities = channel, pidfd, plan, identities
        self.used = time.monotonic()


class Forkserver:
    """Serves the requests of one executor process."""

    def __init__(self, control: Channel, owner: int) -> None:
        self.control, self.owner = control, owner
        self.by_root = os.geteuid() == 0
        self.templates: dict[bytes, Template] = {}  # least recently used first
        self.leaving: list[int] = []  # pidfds of what ends by itself: templates whose last run goes on, openers

    def serve(self) -> None:
        """Answer requests until the owner is gone."""
        poll = select.poll()
        poll.register(self.control.fileno(), select.POLLIN)
        poll.register(self.owner, select.POLLIN)
        while True:
            events = dict(poll.poll(IDLE_SECONDS * 1000 if self.templates else None))
            if self.owner in events:
                return
            if events:
                try:
                    payload, descriptors = self.control.receive()
                except EOFError:
                    return
                self._start_run(payload, descriptors)
            self._drop_idle_templates()

    def _start_run(self, payload: bytes, descriptors: list[int]) -> None:
        """Hand one request on to its template. Failures go to the run's own reply socket."""
        run = Channel.from_descriptor(descriptors[0])
        sources: list[int] = []
        try:
            request = decode(ForkRequest, payload)
            if request.opener is not None:
                self._leave_alone(opener.start(request.opener, run, descriptors[1:]))
                return
            if self.by_root and any(mounts.is_bind(operation) for operation in request.run_mounts):
                sources = self._open_run_sources(request)
                payload = encode(request)
            found = self._template(request.template, run)
            if found is not None:
                found.channel.send(payload, [run.fileno(), *sources])
        except Exception as error:
            report(run, error, "forkserver")
        finally:
            run.close()
            for descriptor in (*sources, *descriptors[1:]):
                os.close(descriptor)

    def _open_run_sources(self, request: ForkRequest) -> list[int]:
        """Open what the run binds for itself, while we can; operations whose source may be missing, and is, go."""
        opened = [(operation, open_usable_source(operation)) for operation in request.run_mounts]
        kept = [(operation, source) for operation, source in opened if source or not mounts.is_bind(operation)]
        request.run_mounts = [operation for operation, _ in kept]
        return [source for _, source in kept if source is not None]

    def _template(self, key: bytes, run: Channel) -> Template | None:
        """The template for the plan `key`, made or made anew where needed. None when that failed and was reported."""
        found = self.templates.pop(key, None)
        plan = found.plan if found is not None else decode(TemplatePlan, key)
        identities = template.source_identities(plan)
        # A template says nothing unless it is asked: what can be read is its end.
        if found is not None and (found.identities != identities or found.channel.is_readable()):
            self._dismiss(found)
            found = None
        if found is None:
            while len(self.templates) >= MAXIMUM_TEMPLATES:
                self._dismiss(self.templates.pop(next(iter(self.templates))))
            built = self._build_template(plan, run)
            if built is None:
                return None
            found = Template(*built, plan, identities)
        found.used = time.monotonic()
        self.templates[key] = found
        return found

    def _build_template(self, plan: TemplatePlan, run: Channel) -> tuple[Channel, int] | None:
        """Fork a template: its connection and pidfd. None when it failed; it has then told the run why."""
        ours, its = Channel.pair()
        own_pid = os.getpid()
        with Step("fork", "template"):
            pid, pidfd = process.clone(0)
        if pid == 0:
            template.run(plan, its, run, own_pid)
        its.close()
        try:
            answer, _ = ours.receive()
            if answer == template.NEEDS_MAPS:
                identity.write_id_maps(None, str(pid), (plan.uid, plan.gid), identity.host_ids())
                ours.send(template.NEEDS_MAPS)
                answer, _ = ours.receive()
        except EOFError:
            ours.close()
            os.close(pidfd)
            return None
        if answer != template.READY:
            raise StepError("template", 0, "", "the template gave a wrong answer")
        return ours, pidfd

    def _drop_idle_templates(self) -> None:
        oldest = time.monotonic() - IDLE_SECONDS
        for key in [key for key, found in self.templates.items() if found.used < oldest]:
            self._dismiss(self.templates.pop(key))

    def _dismiss(self, found: Template) -> None:
        """Let a template leave once its last run has ended."""
        found.channel.close()
        self._leave_alone(found.pidfd)

    def _leave_alone(self, pidfd: int) -> None:
        """Remember a child that leaves by itself, and forget those that have."""
        self.leaving = [known for known in self.leaving if not _closed_if_ended(known)]
        if not _closed_if_ended(pidfd):
            self.leaving.append(pidfd)

    def kill_all(self) -> None:
        """Kill all templates and so all runs, and all openers; stay until they are gone: nobody else may reap them."""
        for pidfd in (*self.leaving, *(found.pidfd for found in self.templates.values())):
            try:
                process.pidfd_send_signal(pidfd, process.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while True:
                os.wait()
        except ChildProcessError:
            return


def _closed_if_ended(pidfd: int) -> bool:
    """Whether the process behind `pidfd` has ended; the descriptor is closed then."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(0):
        return False
    os.close(pidfd)
    return True


def main(control: int, owner: int) -> None:
    """Entry of the forkserver process: `control` is its connection, `owner` a pidfd of the executor's process."""
    gc.disable()
    process.set_name(b"stockade-forks")
    identity.own_oom_score()
    identity.set_dumpable(identity.NOT_DUMPABLE)
    signals.reset_dispositions()
    # Templates, and the runs of one that dies before them, are our children, and are reaped by the kernel.
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    signals.set_disposition(signals.SIGCHLD, signals.SIG_IGN)
    signals.set_signal_mask(0)
    for descriptor in (control, owner):
        os.set_inheritable(descriptor, False)
    forkserver = Forkserver(Channel.from_descriptor(control), owner)
    try:
        forkserver.serve()
    finally:
        forkserver.kill_all()
        os._exit(0)
