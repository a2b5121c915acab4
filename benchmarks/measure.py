"""What the benchmarks share: timing contestants in turn, and printing ratios."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

GOALS = Path(__file__).with_name("goals.toml")
TRUE_C = "int main(void) { return 0; }\n"
CALLS_C = """\
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
    for (long n = atol(argv[1]); n > 0; n--) syscall(SYS_getppid);
    return 0;
}
"""


@dataclass(frozen=True)
class Times:
    """Times of one contestant, in milliseconds, sorted."""

    milliseconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    def quantile(self, share: float) -> float:
        return self.milliseconds[min(len(self.milliseconds) - 1, int(share * len(self.milliseconds)))]


def in_turn(contestants: Mapping[str, Callable[[], object]], rounds: int, pause: float = 0.0) -> dict[str, Times]:
    """Run each contestant once a round, so that a busy moment of the machine hits all alike; two rounds warm up.

    `pause` is in seconds, before each run: paced runs find the machine idle, as most users do.
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 2):
        for name, run in contestants.items():
            time.sleep(pause)
            begun = time.perf_counter()
            run()
            if number >= 2:
                taken[name].append((time.perf_counter() - begun) * 1e3)
    return {name: Times(tuple(sorted(values))) for name, values in taken.items()}


def each_alone(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Run each contestant back to back, in blocks that take turns: what one leaves behind slows itself, not others."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    block = max(1, rounds // 5)
    for _ in range(5):
        for name, run in contestants.items():
            run()
            for _ in range(block):
                begun = time.perf_counter()
                run()
                taken[name].append((time.perf_counter() - begun) * 1e3)
    return {name: Times(tuple(sorted(values))) for name, values in taken.items()}


def sampled(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Times]:
    """As `in_turn`, for contestants that give their own times, in milliseconds; one round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            milliseconds = run()
            if number:
                taken[name].append(milliseconds)
    return {name: Times(tuple(sorted(values))) for name, values in taken.items()}


def per_event(times: Mapping[str, Times], name: str, events: int) -> float | None:
    """Microseconds for one event, from the runs "`name` 0" and "`name` `events`"; None when there were none."""
    if f"{name} {events}" not in times:
        return None
    return (times[f"{name} {events}"].median - times[f"{name} 0"].median) / events * 1e3


def events_table(title: str, costs: Mapping[str, float | None], peer: str) -> str:
    """Microseconds for one event of each contestant as Markdown; None is for one that is missing here."""
    lines = [f"### {title}", "", "| | µs per event | ratio |", "|---|---|---|"]
    base = costs.get(peer)
    for name, cost in costs.items():
        ratio = f"{cost / base:.2f}" if cost is not None and base else "-"
        lines.append(f"| {name} | {'missing' if cost is None else f'{cost:.2f}'} | {ratio} |")
    return "\n".join(lines) + "\n"


def build(source: str, name: str, directory: Path) -> str:
    """Compile a static C program."""
    path = directory / name
    subprocess.run(["gcc", "-static", "-O2", "-o", path, "-x", "c", "-"], input=source.encode(), check=True)
    return str(path)


def workspace() -> Path:
    """A directory for compiled programs that any user may enter."""
    directory = Path(tempfile.mkdtemp(prefix="stockade-bench-"))
    directory.chmod(0o755)
    return directory


def version_of(command: str) -> str:
    """First line of `command --version`, or "missing"."""
    if shutil.which(command) is None:
        return "missing"
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).splitlines()[0]


def table(title: str, times: Mapping[str, Times], peer: str) -> str:
    """Rows of one comparison as Markdown; ratios of the medians to `peer`'s."""
    lines = [f"### {title}", "", "| | median ms | p5 | p95 | ratio |", "|---|---|---|---|---|"]
    for name, each in times.items():
        ratio = f"{each.median / times[peer].median:.2f}" if peer in times else "-"
        row = f"{each.median:.2f} | {each.quantile(0.05):.2f} | {each.quantile(0.95):.2f} | {ratio}"
        lines.append(f"| {name} | {row} |")
    return "\n".join(lines) + "\n"


def judge(measured: Mapping[str, float | None]) -> bool:
    """Print measured against promised; whether all promises are met.

    `measured` are ratios by the id of a goal, None for one whose peer is missing. Goals that are not in it belong to
    another benchmark.
    """
    goals = [goal for goal in tomllib.loads(GOALS.read_text())["goal"] if goal["id"] in measured]
    print("### Goals\n\n| goal | promised ratio | measured | met |\n|---|---|---|---|")
    met = True
    for goal in goals:
        ratio = measured[goal["id"]]
        fine = ratio is not None and ratio <= goal["at_most"]
        met = met and (fine or ratio is None)
        shown = "peer missing" if ratio is None else f"{ratio:.2f}"
        print(f"| {goal['what']} | {goal['at_most']} | {shown} | {'yes' if fine else 'no'} |")
    return met
