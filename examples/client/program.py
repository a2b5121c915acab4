"""The program in the box: initialises itself, goes under its policy, and only then looks at what it was given."""

from __future__ import annotations

import logging
import os
import sys

from stockade.client import Client


def main() -> int:
    """Work out an expression that nobody has checked."""
    client = Client()
    client.forward_logs().setFormatter(logging.Formatter("%(message)s"))
    child = os.fork()  # nothing refuses this yet: the code up to the call below has to be trusted
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    logging.warning("initialised, and sandboxed: %s", client.is_sandboxed())

    client.sandbox_me_here()

    logging.warning("sandboxed: %s", client.is_sandboxed())
    print(eval(sys.stdin.read()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
