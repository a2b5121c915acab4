"""What the bytes around an address in a program's code say: is it a return address, and of which call. x86_64, i386."""

from __future__ import annotations

from stockade.monitor.decode_memory import Reader
from stockade.monitor.maps import MemoryMap

PAGE = 4096
# Pages that one walk may read. A hostile stack could point everywhere.
MAXIMUM_PAGES = 256
LONGEST_CALL = 7
# mov $15,%rax; syscall: where a signal handler returns to. sigreturn(2)
SIGNAL_RETURN = bytes.fromhex("48c7c00f0000000f05")
# Larger functions than this are taken for several.
LARGEST_FUNCTION = 16384


class PageReader:
    """Reads through whole pages, each of them once, and not more than a certain number."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pages: dict[int, bytes] = {}

    def read_memory(self, address: int, size: int) -> bytes:
        """Return up to `size` bytes, at most one page. OSError when nothing can be read, or too much was."""
        data = b""
        while len(data) < size:
            place = address + len(data)
            within = place % PAGE
            page = self._page(place - within)[within : within + size - len(data)]
            if not page:
                break
            data += page
        if not data:
            raise OSError(14, "nothing can be read")
        return data

    def _page(self, start: int) -> bytes:
        page = self._pages.get(start)
        if page is None:
            if len(self._pages) >= MAXIMUM_PAGES:
                raise OSError(7, "too much would have to be read")
            try:
                page = self._reader.read_memory(start, PAGE)[:PAGE]
            except OSError:
                page = b""
            self._pages[start] = page
        return page


class Code:
    """The executable memory of one process."""

    def __init__(self, reader: Reader, memory_map: MemoryMap) -> None:
        self._reader = reader
        self._map = memory_map
        self._known: dict[int, bool] = {}

    def is_return_address(self, address: int) -> bool:
        """Whether `address` is in code and stands behind a call, or is where signal handlers return to."""
        if self._map.code_at(address) is None:
            return False
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = _ends_with_call(self._before(address)) or self.is_signal_return(address)
        return known

    def is_signal_return(self, address: int) -> bool:
        """Whether a signal handler returns to `address`."""
        try:
            return self._reader.read_memory(address, len(SIGNAL_RETURN)) == SIGNAL_RETURN
        except OSError:
            return False

    def function_called(self, address: int) -> int:
        """Start of the function that the call before the return address `address` is for; 0 when it cannot be told."""
        before = self._before(address)
        if before[-5:-4] != b"\xe8":
            return 0
        return address + int.from_bytes(before[-4:], "little", signed=True)

    def is_within_function_called(self, place: int, address: int) -> bool:
        """Whether `place` seems to be in the very function that was called before the return address `address`."""
        start = self.function_called(address)
        return start > 0 and 0 <= place - start < LARGEST_FUNCTION and self._map.at(start) is self._map.at(place)

    def _before(self, address: int) -> bytes:
        mapping = self._map.at(address)
        first = address - LONGEST_CALL if mapping is None else max(mapping.start, address - LONGEST_CALL)
        try:
            found = self._reader.read_memory(first, address - first) if first < address else b""
        except OSError:
            return b""
        return found if len(found) == address - first else b""


def _ends_with_call(code: bytes) -> bool:
    """Whether the last bytes are a near call: relative, or through a register or memory (opcode FF /2)."""
    if code[-5:-4] == b"\xe8":
        return True
    return any(
        len(code) >= length
        and code[-length] == 0xFF
        and code[-length + 1] >> 3 & 7 == 2
        and _length(code[-length:]) == length
        for length in (2, 3, 4, 6, 7)
    )


def _length(code: bytes) -> int:
    """Length of an instruction of a one-byte opcode with a ModR/M byte."""
    mode, register = code[1] >> 6, code[1] & 7
    if mode == 3:
        return 2
    extra = 1 if register == 4 else 0  # a SIB byte
    if mode == 0:
        wide = register == 5 or (extra and len(code) > 2 and code[2] & 7 == 5)
        return 2 + extra + (4 if wide else 0)
    return 2 + extra + (1 if mode == 1 else 4)
