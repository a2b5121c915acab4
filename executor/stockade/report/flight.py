"""The last events of a run as text."""

from __future__ import annotations

from collections.abc import Sequence

from stockade._proto import report_pb2
from stockade.wrap import INDENT, paragraph


def flight_block(events: Sequence[report_pb2.FlightEvent], dropped: int, width: int) -> list[str]:
    """Return the block about the events before the end, oldest first: time, thread, what it was, what came of it."""
    before = f" ({dropped} before them)" if dropped else ""
    lines = paragraph(f"Last events before the end{before}:", width)
    for event in events:
        lines += paragraph(f"{event.at / 1e9:.6f} {event.tid} {_words(event)}", width, indent=INDENT)
    return lines


def _words(event: report_pb2.FlightEvent) -> str:
    is_call = event.text.startswith(f"{event.name}(")
    answer = (f" = {event.answer}" if is_call else f": {event.answer}") if event.answer else ""
    return f"{event.text}{answer}" if is_call else f"{event.name} {event.text}{answer}"
