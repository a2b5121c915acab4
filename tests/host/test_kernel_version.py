"""Kernels on which a violation could not be proven are refused."""

from __future__ import annotations

import os

import pytest

from stockade.errors import UnsupportedError
from stockade.host.kernel_version import check_kernel


def release(text: str) -> os.uname_result:
    return os.uname_result(("Linux", "host", text, "#1", "x86_64"))


def test_this_kernel_is_new_enough() -> None:
    check_kernel()


@pytest.mark.parametrize("text", ["5.17.0", "5.17-rc1", "6.1.0-18-amd64", "10.0.1"])
def test_new_kernels(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: release(text))
    check_kernel()


@pytest.mark.parametrize("text", ["5.16.20", "5.10.0-28-amd64", "4.19.0", "unknown"])
def test_old_kernels_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: release(text))
    with pytest.raises(UnsupportedError, match=r"5\.17"):
        check_kernel()
