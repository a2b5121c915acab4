"""Notify: be told what happens in a run, and end it with a verdict of one's own."""

from __future__ import annotations

import os
import signal
import time

from stockade import (
    Executor,
    Notify,
    Policy,
    PolicyBuilder,
    ProcessEvent,
    Result,
    SignalEvent,
    SignalVerdict,
    Syscall,
    Verdict,
    hook,
)

SCRIPT = """
import os, signal
signal.signal(signal.SIGUSR1, lambda *_: print("SIGUSR1 came through"))
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGTERM)
print("still here")
for answer in range(40, 50):
    os.mkdir(f"/data/answer-{answer}")
"""


class Referee(Notify):
    """Lets a program guess names of directories, and ends its run at the right one."""

    @hook(slow=True, timeout=60)
    def syscall(self, call: Syscall) -> Verdict | None:
        """Every mkdir comes here. A slow hook may take its time: other threads of the program go on meanwhile."""
        guess = os.path.basename(call.path())
        time.sleep(0.01)  # stands for a question to a person or to a service
        print(f"referee: {guess}?")
        return Verdict.finish(f"{guess} is right") if guess == "answer-42" else Verdict.ALLOW

    def started(self, event: ProcessEvent) -> Verdict | None:
        """The program is about to begin."""
        print(f"referee: {os.path.basename(event.program)} starts")
        return None

    def signal(self, event: SignalEvent) -> SignalVerdict | Verdict | None:
        """No request to end reaches the program."""
        name = signal.Signals(event.signo).name
        print(f"referee: {name}")
        return SignalVerdict.SUPPRESS if event.signo == signal.SIGTERM else SignalVerdict.DELIVER

    def finished(self, result: Result) -> None:
        """Called once for each run, however it ends."""
        print(f"referee: {result.status.name}, {result.user_verdict}")


def policy() -> Policy:
    """The ready-made policy for Python, with every call that makes a directory handed to a hook."""
    builder = PolicyBuilder().add_tmpfs("/data")
    return builder.trace("mkdir", "guess").trace("mkdirat", "guess").include("python3").build()


def main() -> int:
    """Run the guesses."""
    result = Executor(policy(), notify=Referee()).run(["python3", "-u", "-c", SCRIPT], text=True)
    print(result.stdout, end="")
    print("advisory:", *result.to_proto().advisory_hooks)
    return 0 if result.user_verdict == "answer-42 is right" else 1


if __name__ == "__main__":
    raise SystemExit(main())
