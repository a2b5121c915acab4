"""The listing of a program, for --debug."""

from __future__ import annotations

import pytest

from policy.bpf_strategies import CHECKED
from stockade.errors import PolicyError
from stockade.kernel.architectures import X86_64
from stockade.policy.bpf.compile import compile, compile_instructions
from stockade.policy.bpf.disassemble import disassemble


def test_the_listing_names_calls_words_and_actions() -> None:
    listing = disassemble(compile(CHECKED), X86_64)
    for part in ("ld    arch", "; x86_64", "args[1].low", "args[1].high", "; ioctl", "ret   allow", "ret   errno 13"):
        assert part in listing
    assert "ret   kill_process" in listing
    assert "ret   trace 256" in listing
    assert len(listing.splitlines()) == len(compile_instructions(CHECKED))
    assert "; ioctl" not in disassemble(compile(CHECKED))


def test_the_listing_shows_any_bytes() -> None:
    assert "code 0xffff" in disassemble(b"\xff" * 8)
    assert disassemble(b"") == "\n"
    with pytest.raises(PolicyError, match="multiple of 8"):
        disassemble(b"abc")
