"""The base of faults, which change responses. Each kind has a file in ``faults/kinds``, with its settings.

A stream is split into its events ("chunks" in SDKs) and joined again, by the framing in its head: clients count events,
for every provider.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, ClassVar, Generic, NamedTuple, NoReturn, Protocol, TypeVar, get_args

from typing_extensions import override

from fastmock.core.capabilities import Capability
from fastmock.core.http import Ending, Headers, Reply, Stream
from fastmock.core.provider import Provider
from fastmock.faults.settings import ErrorType, FaultSettings, Place

Answer = Reply | Stream

_FLUSH = 0.02  # seconds between the last event and closing the connection, so that the event arrives
_WAKEUP_INTERVAL = 60.0  # seconds between wakeups of a response that is never sent


class Error(NamedTuple):
    """An error to be rendered by the provider: by its status, or by its type; the rest is optional."""

    status: int | None
    error: ErrorType | None
    message: str | None
    type: str | None
    code: str | None
    headers: Headers = ()


class ErrorWriter(Protocol):
    """Renders errors for the provider of a request.

    Attributes:
        provider: the provider.
    """

    provider: Provider

    def raise_error(self, error: Error) -> NoReturn:
        """Respond with an error instead."""

    def event(self, error: Error) -> bytes:
        """Return an error as an event of a stream."""

    def not_reached(self) -> None:
        """Report that a place was not reached; for a time this is only known while sending."""


S = TypeVar("S", bound=FaultSettings)


class Fault(ABC, Generic[S]):
    """One configured fault. A subclass with concrete settings registers itself by their ``kind``.

    Attributes:
        kinds: all kinds of faults by name.
        settings_type: the class of its settings.
        needs: the capability that it needs from a runtime; None if every runtime supports it.
        takes_time: whether it delays responses.
    """

    kinds: ClassVar[dict[str, "type[Fault[Any]]"]] = {}
    settings_type: ClassVar[type[FaultSettings]]
    needs: Capability | None = None
    takes_time = False

    def __init_subclass__(cls) -> None:
        """Register the class."""
        (settings,) = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]
        if isinstance(settings, type) and issubclass(settings, FaultSettings):  # not a TypeVar: a concrete kind
            cls.settings_type = settings
            (kind,) = get_args(settings.model_fields["kind"].annotation)
            Fault.kinds[kind] = cls

    def __init__(self, settings: S) -> None:
        self._settings = settings

    def applies(self, answer: Answer, provider: Provider) -> bool:
        """Return whether the fault can change this response; only such responses are counted."""
        return True

    @abstractmethod
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """Return the changed response; None if the fault is not applicable to it."""


class StreamFault(Fault[S]):
    """A fault that only applies to streams."""

    @override
    def applies(self, answer: Answer, provider: Provider) -> bool:
        return is_stream(answer)


class Events:
    """The events of a stream with their due times.

    Attributes:
        frames: the bytes of the events.
        framing: the framing of the stream.
        due_times: the due times of the events, consumed lazily as those of a Stream.
    """

    def __init__(self, answer: Answer) -> None:
        """Split an answer for which ``is_stream`` is true."""
        assert answer.head.framing is not None  # noqa: S101 - see above
        self.framing = answer.head.framing
        self._answer = answer
        self.due_times: Iterator[float]
        split = self.framing.split
        if isinstance(answer, Stream):
            parts = [split(answer.cut(step, step + 1)) for step in range(answer.steps)]
            self.frames = [frame for part in parts for frame in part]
            self.due_times = (due for due, part in zip(answer.due_times, parts, strict=False) for _ in part)
        else:
            self.frames = split(answer.body)
            self.due_times = repeat(0.0, len(self.frames))

    def reaches(self, place: Place) -> int | None:
        """Return the number of events before a place, all for a time; None if the place is not reached."""
        count = len(self.frames)
        if place.time is not None:
            return count if isinstance(self._answer, Stream) else None
        before = place.chunks if place.chunks is not None else round((place.share or 0) * count)
        return before if before < count else None

    def stream(self, frames: Sequence[bytes], due_times: Iterator[float]) -> Stream:
        """Return a stream of these frames."""
        answer = self._answer
        failed = answer.failed if isinstance(answer, Stream) else bytes

        def cut(begin: int, end: int) -> bytes:
            return b"".join(frames[begin:end])

        return _copy_attributes(answer, Stream(answer.head, answer.request_id, due_times, cut, len(frames), failed))

    def until(
        self,
        place: Place,
        not_reached: Callable[[], None],
        last: bytes = b"",
        ending: Ending = "whole",
        hangs: bool = False,
    ) -> Stream | None:
        """Return the stream up to a place, followed by ``last``; None if it ends before.

        Args:
            place: the place.
            not_reached: called if a time turns out not to be reached.
            last: the last event.
            ending: how the stream ends.
            hangs: whether it stalls instead of ending.
        """
        before = self.reaches(place)
        if before is None:
            return None
        # For a time, only sending shows which event is the last, and whether the time is reached.
        frames = [*self.frames, b""] if place.time is not None else [*self.frames[:before], last]
        tail = 0.0 if ending == "whole" else _FLUSH
        first = self.framing.first
        if before == 0:
            frames[-1:] = [first(last)]

        def due_times() -> Iterator[float]:
            due = 0.0
            for number, following in enumerate(self.due_times):
                if place.time is not None and following > place.time:
                    frames[number:] = [last if number else first(last)]
                    due = place.time
                    break
                if number == before:
                    break
                yield (due := following)
            else:
                not_reached()
                return
            stream.ending = ending
            yield due + tail
            while hangs:
                yield (due := due + _WAKEUP_INTERVAL)

        stream = self.stream(frames, due_times())
        return stream


def is_stream(answer: Answer) -> bool:
    """Return whether a response is a stream, paced or not."""
    return answer.head.framing is not None


def without_body(answer: Answer) -> Reply:
    """Return a response without a body in place of another."""
    return _copy_attributes(answer, Reply(answer.head, answer.request_id, b""))


def never() -> Iterator[float]:
    """Return the due times of a response that is never sent."""
    due = 0.0
    while True:
        yield (due := due + _WAKEUP_INTERVAL)


A = TypeVar("A", Reply, Stream)


def _copy_attributes(answer: Answer, target: A) -> A:
    """Copy the observed attributes of a response to another."""
    target.model, target.rule, target.chat = answer.model, answer.rule, answer.chat
    target.values, target.more, target.redo = answer.values, answer.more, answer.redo
    return target
