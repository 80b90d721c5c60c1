"""A fault: a change to an answer. Each kind has a file of its own in ``faults/kinds``, with its settings.

A stream is taken apart into its events ("chunks", as SDKs call them) and put together again, by the framing that its
head names: clients count events, whichever provider sent them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, ClassVar, Generic, NamedTuple, NoReturn, Protocol, TypeVar, get_args

from fastmock.core.capabilities import Capability
from fastmock.core.http import Ending, Headers, Reply, Stream
from fastmock.core.provider import Provider
from fastmock.faults.settings import ErrorType, FaultSettings, Place

Answer = Reply | Stream

_FLUSH = 0.02  # seconds between the last event and the end of the connection, so that it is not lost on its way
_GLANCE = 60.0  # seconds between looks at what is never answered


class Error(NamedTuple):
    """An error to be said in a dialect's own form: by its status, or as one of the API's own; the rest is optional."""

    status: int | None
    error: ErrorType | None
    message: str | None
    type: str | None
    code: str | None
    headers: Headers = ()


class ErrorWriter(Protocol):
    """Writes errors as the provider of a request does.

    Attributes:
        provider: the provider.
    """

    provider: Provider

    def raise_error(self, error: Error) -> NoReturn:
        """Answer with an error, instead of anything else."""

    def event(self, error: Error) -> bytes:
        """Return an error as a stream says it in its midst."""

    def not_reached(self) -> None:
        """Say that a place was not reached, which for a time shows only on the way."""


S = TypeVar("S", bound=FaultSettings)


class Fault(ABC, Generic[S]):
    """One fault, as it is configured. A subclass that names its settings registers itself by their ``kind``.

    Attributes:
        kinds: all of them by name.
        settings_type: the class of its settings.
        needs: the capability that it needs of a runtime; None where every runtime can do it.
        takes_time: whether it makes an answer take time.
    """

    kinds: ClassVar[dict[str, "type[Fault[Any]]"]] = {}
    settings_type: ClassVar[type[FaultSettings]]
    needs: Capability | None = None
    takes_time = False

    def __init_subclass__(cls) -> None:
        """Register it."""
        (settings,) = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]
        if isinstance(settings, type) and issubclass(settings, FaultSettings):  # no TypeVar: it is a kind of its own
            cls.settings_type = settings
            (kind,) = get_args(settings.model_fields["kind"].annotation)
            Fault.kinds[kind] = cls

    def __init__(self, settings: S) -> None:
        self._settings = settings

    def applies(self, answer: Answer, provider: Provider) -> bool:
        """Return whether a provider's answer is of the kind that the fault changes; only those are counted."""
        return True

    @abstractmethod
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """Return what becomes of an answer; None where the fault has nothing there to strike at."""


class StreamFault(Fault[S]):
    """A fault that applies to streams alone."""

    def applies(self, answer: Answer, provider: Provider) -> bool:
        """See Fault."""
        return is_stream(answer)


class Events:
    """The events of a stream, each with its due time.

    Attributes:
        frames: their bytes.
        framing: how they follow each other.
        due_times: when each is due, drawn lazily as those of a Stream are.
    """

    def __init__(self, answer: Answer) -> None:
        """Take apart an answer that ``is_stream``."""
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
        """Return how many events come before a place: of a time all; None where the place is not reached."""
        count = len(self.frames)
        if place.time is not None:
            return count if isinstance(self._answer, Stream) else None
        before = place.chunks if place.chunks is not None else round((place.share or 0) * count)
        return before if before < count else None

    def stream(self, frames: Sequence[bytes], due_times: Iterator[float]) -> Stream:
        """Put a stream together."""
        answer = self._answer
        failed = answer.failed if isinstance(answer, Stream) else bytes

        def cut(begin: int, end: int) -> bytes:
            return b"".join(frames[begin:end])

        return _like(answer, Stream(answer.head, answer.request_id, due_times, cut, len(frames), failed))

    def until(
        self,
        place: Place,
        not_reached: Callable[[], None],
        last: bytes = b"",
        ending: Ending = "whole",
        hangs: bool = False,
    ) -> Stream | None:
        """Return the stream up to a place, and then ``last``; None where it ends before.

        Args:
            place: where.
            not_reached: called where a place in time turns out not to be reached.
            last: what comes then.
            ending: how it ends.
            hangs: whether it does not end, but stands still.
        """
        before = self.reaches(place)
        if before is None:
            return None
        # Of a time it shows only on the way which event is the last, and whether the stream gets there.
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
                yield (due := due + _GLANCE)

        stream = self.stream(frames, due_times())
        return stream


def is_stream(answer: Answer) -> bool:
    """Return whether an answer is a stream, ready or not."""
    return answer.head.framing is not None


def bodiless(answer: Answer) -> Reply:
    """Return an answer that says nothing, in the place of another."""
    return _like(answer, Reply(answer.head, answer.request_id, b""))


def never() -> Iterator[float]:
    """Return the due times of an answer that is never sent."""
    due = 0.0
    while True:
        yield (due := due + _GLANCE)


A = TypeVar("A", Reply, Stream)


def _like(answer: Answer, made: A) -> A:
    """Have an answer note what another does."""
    made.model, made.rule, made.chat = answer.model, answer.rule, answer.chat
    made.values, made.more = answer.values, answer.more
    return made
