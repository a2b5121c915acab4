"""The program in the box: initialises itself once, and answers each request in a sandboxed copy of itself."""

from __future__ import annotations

import os
import secrets
import sys
import unicodedata

from stockade.client import Client


def main() -> int:
    """Print the names of the characters of a request, with what tells copies and initialisations apart."""
    names = {chr(code): unicodedata.name(chr(code), "?") for code in range(0x3000)}  # takes a while, but once
    token = secrets.token_hex(4)
    client = Client()

    client.become_fork_server()  # returns in each copy, sandboxed

    if client.args == ["escape"]:
        os.fork()
    print(token, *(names.get(character, "unknown") for character in sys.stdin.read()), sep=", ")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
