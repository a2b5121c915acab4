"""`policy check`: everything that is looked at in a policy that can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from stockade.cli.findings import ERROR, HINT, WARNING, Finding, of_error, split_place
from stockade.cli.review_dangers import dangers_in
from stockade.cli.review_risk import rule_risks
from stockade.errors import MonitorError, PolicyError, SandboxError, UnsupportedError
from stockade.limits import Limits
from stockade.policy.bpf.compile import compile as compile_rules
from stockade.policy.meaning.space import unreachable
from stockade.policy.policy import Policy
from stockade.policy.resolve import resolve
from stockade.policy.rules import MODES, ResolvedPolicy
from stockade.policy.second_opinion import compare
from stockade.policy.selfcheck import check_program
from stockade.policy.unsupported import unsupported_features
from stockade.policy.validate import architectures_of


class Review:
    """The findings about one policy. `file` is the one that it was read from, `text` what stands there."""

    def __init__(self, policy: Policy, file: str, architectures: Sequence[str], *, verbose: bool) -> None:
        self._policy, self._file, self._verbose = policy, file, verbose
        self._message = policy.message
        self._architectures = architectures

    def findings(self) -> Iterator[Finding]:
        """Give all findings but those about the text."""
        yield from self._unsupported()
        usable = [architecture.name for architecture in architectures_of(self._message)]
        resolved = []
        for name in self._architectures:
            if name not in usable:
                message = f"it cannot be used on {name}, where a constant of its rules does not exist"
                yield Finding(WARNING if usable else ERROR, "architecture", message, self._file)
                continue
            try:
                resolved.append(self._policy.resolve(name))
            except SandboxError as error:
                yield of_error(error, "invalid", self._file)
        found = [each for one in resolved for each in self._of_architecture(one)]
        yield from dict.fromkeys(found)
        yield from self._second_opinions(resolved)
        yield from self._dangers()
        if resolved:
            yield from self._risks(resolved[0])
        filesystem = self._message.filesystem
        if (filesystem.libraries_for_binary or filesystem.python) and not self._message.tested_with:
            message = "it is for a program, and does not say with which version it was tested: add tested_with"
            yield Finding(WARNING, "not-tested", message, self._file)

    def _unsupported(self) -> Iterator[Finding]:
        for feature in unsupported_features(self._message):
            path = feature.partition(" ")[0].rstrip(":")
            message = f"this version does not enforce {feature}, and so refuses to run the policy"
            yield self._at(self._policy.places.field(path), ERROR, "unsupported", message)
        try:
            Limits.from_policy(self._message.limits).check_enforceable()
        except (PolicyError, UnsupportedError) as error:
            yield of_error(error, "limits", self._file)

    def _of_architecture(self, resolved: ResolvedPolicy) -> Iterator[Finding]:
        yield from self._programs(resolved)
        yield from self._unreachable(resolved)

    def _programs(self, resolved: ResolvedPolicy) -> Iterator[Finding]:
        """Compile for every mode, and compare each program with the rules, whatever a cache holds."""
        for mode in MODES:
            try:
                each = resolve(self._message, resolved.architecture, mode, self._policy.places)
                check_program(each, compile_rules(each))
            except MonitorError as error:
                yield Finding(ERROR, "self-check", str(error), self._file)
            except PolicyError as error:
                found = of_error(error, "program", self._file)
                name = f"on {resolved.architecture.name} in mode {mode}"
                yield Finding(ERROR, "program", f"{found.message} ({name})", found.file, found.line, found.column)

    def _unreachable(self, resolved: ResolvedPolicy) -> Iterator[Finding]:
        """Find explicit rules that never decide. Those of an included file may be overridden."""
        explicit = {self._policy.places.rule(index): rule for index, rule in enumerate(self._message.syscalls.rules)}
        for rules in resolved.by_number.values():
            for found in unreachable(rules):
                rule = rules[found.index]
                place = rule.origin.place
                if place not in explicit:
                    continue
                others = list(dict.fromkeys(rules[index].origin.place for index in found.covered_by))
                own = split_place(place)[0]
                if any(split_place(other)[0] not in (own, other) for other in others):
                    continue
                level = HINT if explicit[place].overridable else WARNING
                yield self._at(place, level, "unreachable", _never(rule.syscall, others))

    def _second_opinions(self, resolved: Sequence[ResolvedPolicy]) -> Iterator[Finding]:
        """Compare with libseccomp, and say where it could not be asked."""
        shares = []
        for one in resolved:
            name = one.architecture.name
            try:
                opinion = compare(self._policy, name)
            except UnsupportedError as error:
                yield Finding(HINT, "second-opinion", f"no second opinion: {error}", self._file)
                return
            except (PolicyError, MonitorError):
                continue  # said already: the policy has no program there
            for difference in opinion.differences:
                message = f"libseccomp compiles these rules to something else on {name}: {difference}"
                yield Finding(ERROR, "second-opinion", message, self._file)
            for left in opinion.left_out if self._verbose else ():
                message = f"libseccomp was not asked about {left.syscall} on {name}: {left.reason}"
                yield Finding(HINT, "second-opinion", message, self._file)
            if opinion.left_out:
                total = len(opinion.compared) + len(opinion.left_out)
                shares.append(f"{len(opinion.left_out)} of {total} calls on {name}")
        if shares:
            message = f"it leaves the subset that libseccomp compiles right: it was not asked about {_names(shares)}"
            details = "" if self._verbose else " (--verbose says why)"
            yield Finding(HINT, "second-opinion", message + details, self._file)

    def _dangers(self) -> Iterator[Finding]:
        for danger in dangers_in(self._message, self._policy.places):
            yield self._at(danger.place, WARNING, "danger", danger.text)

    def _risks(self, resolved: ResolvedPolicy) -> Iterator[Finding]:
        for place, message in rule_risks(self._policy, resolved):
            yield self._at(place, WARNING, "risk", message)

    def _at(self, place: str, level: str, code: str, message: str) -> Finding:
        """Make a finding at a place; for a place that is no line of a file, the message says it."""
        file, line = split_place(place)
        if line:
            return Finding(level, code, message, file, line)
        return Finding(level, code, f"{place}: {message}" if place else message, self._file)


def _never(syscall: str, others: Sequence[str]) -> str:
    if not others:
        return f"this rule for {syscall} never decides: its conditions never hold together"
    decide = "decides" if len(others) == 1 else "decide"
    return f"this rule for {syscall} never decides: {_names(others)} {decide} all such calls"


def _names(places: Iterable[str]) -> str:
    names = list(places)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
