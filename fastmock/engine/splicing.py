"""Find the ids and times in a response, so that they can be replaced for each request.

A response is rendered twice, with different ids and times. The places where the results differ are parts of the id or
the time, or the response cannot be spliced.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from fastmock.core.arrays import np

Fill = Callable[[str, float], bytes]
"""Returns the response for a request id, as of ``core.ids.unique``, and a Unix time in seconds."""


class Mark(NamedTuple):
    """A request id and a time that stand for those of any request."""

    unique: str
    created: int


MARKS = Mark("0123456789abcdef02468ace13579bdf", 1_111_111_111), Mark("89abcdef012345678ace02469bdf1357", 2_222_222_222)
"""They differ in every digit, and three digits of an id tell their place in it."""

_SHORTEST = 3  # digits of an id, of which a UUID contains groups
_MOST_SLOTS = 200
_LEAST_ALIKE = 4  # equal slots in a row that are joined

_Slot = tuple[int, int] | None
"""A part of the id, from its first digit to the one after its last; None for the time."""
_UNKNOWN = -1, -1


class Splice(NamedTuple):
    """A response with slots.

    Attributes:
        fill: fills the slots.
        size: the length of the response, in bytes.
    """

    fill: Fill
    size: int


def splice(first: bytes, second: bytes) -> Splice | None:
    """Find the slots of a response rendered with each of ``MARKS``; return None if it differs in anything else."""
    if len(first) != len(second):
        return None
    slots: list[_Slot] = []
    texts: list[bytes] = []
    end = 0
    for begin, after in _differences(first, second):
        slot = _slot(first[begin:after], second[begin:after])
        if slot == _UNKNOWN:
            return None
        texts.append(first[end:begin])
        slots.append(slot)
        end = after
    texts.append(first[end:])
    fill = _fill(texts, slots)
    if fill is None or any(fill(*mark) != whole for mark, whole in zip(MARKS, (first, second), strict=True)):
        return None
    return Splice(fill, len(first))


def _differences(first: bytes, second: bytes) -> Iterator[tuple[int, int]]:
    """Yield the ranges in which two texts of equal length differ."""
    differs = np.frombuffer(first, np.uint8) != np.frombuffer(second, np.uint8)
    edges = np.flatnonzero(np.diff(differs, prepend=False, append=False))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _slot(first: bytes, second: bytes) -> _Slot:
    """Return the slot that two texts come from, or ``_UNKNOWN``."""
    mark, other = MARKS
    if (first, second) == (b"%d" % mark.created, b"%d" % other.created):
        return None
    begin = mark.unique.find(first.decode(errors="replace"))
    end = begin + len(first)
    if begin < 0 or len(first) < _SHORTEST or other.unique[begin:end].encode() != second:
        return _UNKNOWN
    return begin, end


def _fill(texts: list[bytes], slots: list[_Slot]) -> Fill | None:
    """Return the function that fills the slots between texts; None if there are too many."""
    if not slots:
        [text] = texts
        return lambda unique, now: text
    for length in (1, 2, 3):  # as in the chunks of a stream, which all begin alike
        if len(slots) % length == 0 and len(slots) > length and _repeats(texts, slots, length):
            form = _form([b"", *texts[1:length], b""])
            return _joiner(_arguments(slots[:length]))(form, [texts[0], *texts[length:-1:length], texts[-1]])
    merged, kinds, joined = _merge(texts, slots)
    if len(kinds) > _MOST_SLOTS:
        return None
    return _filler(_arguments(kinds), tuple(place for place, one in enumerate(joined) if one))(
        _form(merged), [one for one in joined if one]
    )


def _repeats(texts: list[bytes], slots: list[_Slot], length: int) -> bool:
    """Return whether the slots repeat in groups of ``length``, with equal texts inside of each group."""
    return all(slots[place] == slots[place % length] for place in range(len(slots))) and all(
        texts[place] == texts[place % length] for place in range(len(slots)) if place % length
    )


def _merge(texts: list[bytes], slots: list[_Slot]) -> tuple[list[bytes], list[_Slot], list[list[bytes]]]:
    """Merge equal slots in a row: return the texts around the rest, the rest, and the texts inside of each."""
    outer, kinds, joined = [texts[0]], [], []
    place = 0
    for slot, group in groupby(slots):
        count = len(list(group))
        if count >= _LEAST_ALIKE:
            kinds.append(slot)
            joined.append([b"", *texts[place + 1 : place + count], b""])
            outer.append(texts[place + count])
        else:
            kinds += [slot] * count
            joined += [[] for _ in range(count)]
            outer += texts[place + 1 : place + count + 1]
        place += count
    return outer, kinds, joined


def _form(texts: list[bytes]) -> bytes:
    """Return a format string with a slot between each two texts."""
    return b"%b".join(text.replace(b"%", b"%%") for text in texts)


def _arguments(slots: list[_Slot]) -> tuple[str, ...]:
    """Return the expressions that fill slots."""
    return tuple("b'%d' % now" if slot is None else f"unique[{slot[0]}:{slot[1]}].encode()" for slot in slots)


# Generated functions without loops: a loop over the slots takes 1 µs more for a plain reply.


@lru_cache(256)
def _joiner(arguments: tuple[str, ...]) -> Callable[[bytes, list[bytes]], Fill]:
    """Return a factory of functions that fill a form and join texts with it."""
    source = f"lambda form, texts: lambda unique, now: (form % ({', '.join(arguments)},)).join(texts)"
    factory: Callable[[bytes, list[bytes]], Fill] = eval(source)  # noqa: S307 - from numbers alone
    return factory


@lru_cache(256)
def _filler(arguments: tuple[str, ...], joined: tuple[int, ...]) -> Callable[[bytes, list[list[bytes]]], Fill]:
    """Return a factory of functions that fill a form; the values of ``joined`` slots join texts first."""
    if not joined and len(set(arguments)) == len(arguments):
        simple = f"lambda form, texts: lambda unique, now: form % ({', '.join(arguments)},)"
        direct: Callable[[bytes, list[list[bytes]]], Fill] = eval(simple)  # noqa: S307 - from numbers alone
        return direct
    names = {one: f"_{number}" for number, one in enumerate(dict.fromkeys(arguments))}
    values = [
        f"{names[one]}.join(texts[{joined.index(place)}])" if place in joined else names[one]
        for place, one in enumerate(arguments)
    ]
    source = (
        f"lambda form, texts: lambda unique, now: "
        f"(lambda {', '.join(names.values())}: form % ({', '.join(values)},))({', '.join(names)})"
    )
    factory: Callable[[bytes, list[list[bytes]]], Fill] = eval(source)  # noqa: S307 - from numbers alone
    return factory
