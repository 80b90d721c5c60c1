"""Heartbeats in a waiting stream, so that proxies which close idle connections keep it open."""

from bisect import bisect_left
from collections.abc import Iterator

from fastmock.core.http import HeartbeatTime, Stream, Wait

_LEAST_SHARED = 0.5  # seconds; more frequent heartbeats are sent at their own times
_TOGETHER = 0.001  # seconds; a frame due this soon after a heartbeat replaces it


def beat(stream: Stream, interval: float, form: bytes) -> None:
    """Make a stream send heartbeats while nothing else is sent.

    Args:
        stream: the stream, with all other delays already applied.
        interval: seconds between heartbeats, and from the last frame to the first of them.
        form: the bytes of a heartbeat.
    """
    due_times, cut = stream.due_times, stream.cut
    kind = HeartbeatTime if interval >= _LEAST_SHARED else Wait
    beats: list[int] = []  # the numbers of the steps that are heartbeats

    def paced() -> Iterator[float]:
        sent, step = 0.0, 0
        for due in due_times:
            while due - sent > interval + _TOGETHER:
                sent += interval
                beats.append(step)
                step += 1
                yield kind(sent)
            yield due
            step += 1
            if not isinstance(due, Wait):
                sent = due

    def beating(begin: int, end: int) -> bytes:
        first, last = bisect_left(beats, begin), bisect_left(beats, end)
        if first == last:
            return cut(begin - first, end - first)
        parts = []
        for number in range(first, last):
            at = beats[number]
            if at > begin:
                parts.append(cut(begin - number, at - number))
            parts.append(form)
            begin = at + 1
        if begin < end:
            parts.append(cut(begin - last, end - last))
        return b"".join(parts)

    stream.due_times, stream.cut, stream.tokens = paced(), beating, None
