"""Texts of --help."""

from __future__ import annotations

from collections.abc import Mapping

SET_HELP = "value of a variable of the text policy; may be repeated"
ARCH_HELP = "architecture to speak about; this machine's unless given"
JSON_HELP = "print JSON"

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
  stockade policy check my.textproto
  stockade explain gzip openat _ _ O_RDWR
"""

_POLICY = """\
usage: stockade policy [--help] COMMAND ...

Everything that is done with policies without running a
program.

commands:
{commands}

POLICY is a file, the name of a ready-made policy, or - for
standard input. A word with a slash, or that ends in
.textproto, is always a file; any other is the name of a
ready-made policy if there is one, and else a file.

options:
  -h, --help  show this and exit; after a command, more
              about it

exit codes:
  0    done, and nothing to find
  1    a finding, a difference
  3    a policy cannot be read or used, a file not written
  125  wrong usage, or an error of stockade

examples:
  stockade policy show --rules gzip
  stockade policy check --strict policies/*.textproto
  stockade policy diff old.textproto new.textproto
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
  137     a limit other than time was reached, or the run
          was ended from outside
  159     the policy was breached

examples:
  stockade run gzip -c < notes.txt > notes.gz
  stockade run --profile jq jq .name < data.json
  stockade run --policy my.textproto -- ./tool --option
  stockade run --policy p.textproto --set IN=/srv ./tool
  stockade run --ro data --rw out ./tool data/in out/result
  stockade run --mode refuse --json report.json ./tool
  stockade run --mode permissive --fail-on-violation ./tool
  stockade run --env LANG --env TERM=dumb ./tool
"""


def help_of(command: str, commands: Mapping[str, str]) -> str:
    """Return the help of a command that has others beneath it, for these with their meanings."""
    text = _GENERAL if command == "stockade" else _POLICY
    return text.format(commands="\n".join(f"  {name:<8}  {meaning}" for name, meaning in commands.items()))
