"""`stockade policy show`: a policy with everything expanded, as text, as ordered rules, or as the compiled filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stockade.cli.answers import OK, guarded
from stockade.cli.help import ARCH_HELP, SET_HELP
from stockade.cli.output import print_answer, width
from stockade.cli.policy_argument import PolicyArgument, architecture_of, variables_of
from stockade.cli.usage import exactly, exclusive
from stockade.cli.words import Parser

if TYPE_CHECKING:
    import argparse

    from stockade.policy.policy import Policy

COMMAND = "stockade policy show"
DESCRIPTION = """\
Print POLICY as text in canonical form, with what it
includes and the values of its variables put in.
"""
EPILOG = """\
exit codes:
  0    printed
  3    the policy cannot be read, or is wrong
  125  wrong usage, or an error of stockade

examples:
  stockade policy show gzip
  stockade policy show --set DATA=/srv/in my.textproto
  stockade policy show --rules --arch aarch64 my.textproto
"""
_MODES = ("enforce", "refuse", "permissive", "record")
_SWITCHES = (
    ("--rules", "print the rules of one architecture, each with its place, in the order in which they decide"),
    ("--bpf", "print the compiled filter, disassembled, and its size"),
    ("--pfc", "print the rules as libseccomp's pseudo filter code, as far as it can express them"),
    ("--digest", "print the digest of the policy: equal policies, equal digests"),
)


def parser() -> Parser:
    """Return the options of the command."""
    parser = Parser(COMMAND, "[OPTION ...] POLICY", DESCRIPTION, EPILOG)
    for name, text in _SWITCHES:
        parser.add_switch(name, help=text)
    parser.add_option("--set", metavar="NAME=VALUE", repeated=True, help=SET_HELP)
    parser.add_option("--arch", metavar="NAME", help=ARCH_HELP)
    parser.add_choice("--mode", _MODES, "mode of the run that the filter of --bpf is for", default="enforce")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command with the words after its name; the exit code. Raises UsageError."""
    read = parser().read(arguments)
    if read is None:
        return OK
    options, words = read
    [word] = exactly(COMMAND, words, "POLICY")
    exclusive(COMMAND, {name: getattr(options, name.removeprefix("--")) for name, _ in _SWITCHES})
    variables = variables_of(options.set, COMMAND)
    architecture = architecture_of(options.arch, COMMAND)
    return guarded(lambda: _show(PolicyArgument(word).load(variables), options, architecture))


def _show(policy: Policy, options: argparse.Namespace, architecture: str) -> int:
    if options.digest:
        print_answer(f"{policy.digest.hex()}\n")
    elif options.bpf:
        print_answer(_listing(policy, architecture, options.mode))
    elif options.pfc:
        from stockade.policy.second_opinion import to_pfc

        print_answer(to_pfc(policy, architecture))
    elif options.rules:
        from stockade.cli.rules_text import rules_text

        print_answer(rules_text(policy, policy.resolve(architecture, options.mode), width(1)))
    else:
        print_answer(policy.to_text())
    return OK


def _listing(policy: Policy, architecture: str, mode: str) -> str:
    from stockade.kernel.architectures import ARCHITECTURES
    from stockade.policy.bpf.disassemble import disassemble

    program = policy.compile(architecture, mode)
    count = len(program) // 8
    size = f"{count} of 4096 instructions, {len(program)} bytes, {architecture}, mode {mode}"
    return f"# {size}\n{disassemble(program, ARCHITECTURES[architecture])}"
