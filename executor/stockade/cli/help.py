"""Texts of --help."""

from __future__ import annotations

from collections.abc import Mapping

_GENERAL = """\
usage: stockade [--help] [--version] COMMAND ...

Run programs that you do not trust, under a policy, and
learn what they tried.

commands:
{commands}

options:
  -h, --help  show this and exit; after a command, more
              about it
  --version   print the version and exit

examples:
  stockade run gzip -c < notes.txt > notes.gz
  stockade run --policy my.textproto -- ./tool --option
  stockade run --ro data --rw out ./tool data/in out/result
"""

RUN_DESCRIPTION = """\
Run PROGRAM in a box: it may do what the policy allows, and
sees the files that the policy shows. A breach of the policy
ends it and is explained on standard error. Options end at
PROGRAM, or at --.

Without --policy and --profile the profile "default"
applies: the program and its libraries, nothing writable,
no network.

Standard input, output and error are handed over when they
are files or pipes, and copied when they are terminals. The
program's environment is empty but for what --env adds.
"""

RUN_EPILOG = """\
exit codes: those of the program, and besides
  124     the time limit was reached
  125     wrong usage, failed set-up, or our own error
  126     the program cannot be executed
  127     the program, or what it needs to start, is missing
  128+N   the program died of signal N (130: Ctrl-C)
  137     a limit other than time was reached
  159     the policy was breached

examples:
  stockade run gzip -c < notes.txt > notes.gz
  stockade run --profile jq jq .name < data.json
  stockade run --policy my.textproto -- ./tool --option
  stockade run --ro data --rw out ./tool data/in out/result
  stockade run --mode refuse --json report.json ./tool
  stockade run --env LANG --env TERM=dumb ./tool
"""


def general_help(commands: Mapping[str, str]) -> str:
    """Return the help of the command line as a whole, for these commands with their meanings."""
    return _GENERAL.format(commands="\n".join(f"  {name:<10}  {meaning}" for name, meaning in commands.items()))
