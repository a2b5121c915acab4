"""`stockade explain`: what a policy allows in words, or what it decides about one call and what would change that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stockade.cli.answers import FINDING, OK, guarded
from stockade.cli.help import ARCH_HELP, JSON_HELP, SET_HELP
from stockade.cli.output import print_answer, width
from stockade.cli.policy_argument import PolicyArgument, architecture_of, variables_of
from stockade.cli.usage import UsageError
from stockade.cli.words import Parser
from stockade.errors import PolicyError

if TYPE_CHECKING:
    from stockade._proto import report_pb2
    from stockade.policy.meaning.explain import CallCase, CallExplanation, Explanation
    from stockade.policy.policy import Policy

COMMAND = "stockade explain"
DESCRIPTION = """\
Say in words what POLICY allows. With CALL, a name or a
number, say what it decides about that call, by which rule,
and what would change it.

ARG is a number, or constants of the kernel joined by "|".
"_", the parameter's own name, or nothing leave an argument
open: then all answers are listed that the call can get.
Behind -- words may begin with a dash.
"""
EPILOG = """\
exit codes:
  0    explained; the call is permitted, whatever is open
  1    the call is refused, or refused for some arguments
  3    the policy cannot be read, or is wrong
  125  wrong usage (an unknown name among it), or our error

examples:
  stockade explain gzip
  stockade explain gzip ioctl fd TCGETS
  stockade explain my.textproto openat _ _ O_RDWR
"""
_OPEN = "_"


def parser() -> Parser:
    """Return the options of the command."""
    parser = Parser(COMMAND, "[OPTION ...] POLICY [CALL [ARG ...]]", DESCRIPTION, EPILOG)
    parser.add_option("--set", metavar="NAME=VALUE", repeated=True, help=SET_HELP)
    parser.add_option("--arch", metavar="NAME", help=ARCH_HELP)
    parser.add_switch("--json", help=JSON_HELP)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command with the words after its name; the exit code. Raises UsageError."""
    read = parser().read(arguments)
    if read is None:
        return OK
    options, words = read
    if not words:
        raise UsageError(COMMAND, "POLICY is missing")
    variables = variables_of(options.set, COMMAND)
    architecture = architecture_of(options.arch, COMMAND)

    def explain() -> int:
        policy = PolicyArgument(words[0]).load(variables)
        # So that what is wrong from here on is about the call.
        policy.resolve(architecture)
        if len(words) > 1:
            return _call(policy, words[1], words[2:], architecture, as_json=options.json)
        from stockade.policy.meaning.explain import explain

        found = explain(policy, architecture)
        print_answer(_json(_policy_data(found)) if options.json else found.to_text(width(1)))
        return OK

    return guarded(explain)


def _call(policy: Policy, name: str, arguments: Sequence[str], architecture: str, *, as_json: bool) -> int:
    from stockade.policy.meaning.explain import explain_call

    try:
        found = explain_call(policy, _syscall(name), _open(name, arguments, architecture), architecture)
    except PolicyError as error:
        raise UsageError(COMMAND, str(error)) from None
    print_answer(_json(_call_data(found)) if as_json else found.to_text(width(1)))
    return OK if all(case.verdict.permits for case in found.cases) else FINDING


def _syscall(word: str) -> str | int:
    """Return the name or the number of a call."""
    if not word[:1].isdigit():
        return word
    try:
        number = int(word, 0)
    except ValueError:
        return word
    if not 0 <= number < 1 << 32:
        raise UsageError(COMMAND, f"{word} is no number of a system call: they have 32 bits")
    return number


def _open(syscall: str, arguments: Sequence[str], architecture: str) -> list[str]:
    """Return the arguments with those that are only named by the parameter left open."""
    from stockade.kernel.signatures import signature

    names = [parameter.name for parameter in signature(syscall, architecture)]
    return [_OPEN if word in names[index : index + 1] else word for index, word in enumerate(arguments)]


def _json(data: object) -> str:
    import json

    return json.dumps(data, indent=2) + "\n"


def _policy_data(found: Explanation) -> dict[str, object]:
    sections = [{"title": section.title, "lines": list(section.lines)} for section in found.sections]
    return {
        "policy": found.name,
        "description": found.description,
        "architecture": found.architecture,
        "sections": sections,
    }


def _call_data(found: CallExplanation) -> dict[str, object]:
    return {
        "syscall": found.syscall,
        "architecture": found.architecture,
        "cases": [_case_data(case) for case in found.cases],
        "notes": list(found.notes),
    }


def _case_data(case: CallCase) -> dict[str, object]:
    return {
        "call": case.text,
        "args": list(case.call.registers),
        "permitted": case.verdict.permits,
        "action": str(case.verdict.action),
        "reason": case.verdict.reason,
        "rule": case.rule,
        "place": case.place,
        "risk": {"level": case.risk.level, "reason": case.risk.reason},
        "change": _patch_data(case.change),
        "wider_change": _patch_data(case.wider),
    }


def _patch_data(patch: report_pb2.Patch | None) -> dict[str, str] | None:
    if patch is None:
        return None
    names = ("builder_call", "text_line", "risk", "risk_reason", "refused_because")
    return {name: getattr(patch, name) for name in names if getattr(patch, name)}
