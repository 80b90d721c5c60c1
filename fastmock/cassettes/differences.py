"""Describe how two requests differ."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import orjson

_MOST = 3  # differences of a component that are shown
_LONGEST = 80  # characters of a value that are shown


def differences(recorded: Any, sent: Any, normal: Callable[[str], str] = str) -> list[str]:
    """Return the first differences between two values of JSON, as sentences.

    ``normal`` returns a text as it is compared.
    """
    if isinstance(recorded, dict) or isinstance(sent, dict):  # a component without any field is None
        recorded, sent = ({} if one is None else one for one in (recorded, sent))
    return [*islice(_differences(recorded, sent, "", normal), _MOST)]


def _differences(recorded: Any, sent: Any, path: str, normal: Callable[[str], str]) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(sent, dict):
        for name in dict.fromkeys((*recorded, *sent)):
            at = f"{path}.{name}" if path else str(name)
            if name not in sent:
                yield f"{at} is missing, it was {_short(recorded[name])}"
            elif name not in recorded:
                yield f"{at} is {_short(sent[name])}, it was not sent"
            else:
                yield from _differences(recorded[name], sent[name], at, normal)
    elif isinstance(recorded, list) and isinstance(sent, list):
        for place, (one, other) in enumerate(zip(recorded, sent, strict=False)):
            yield from _differences(one, other, f"{path}[{place}]", normal)
        if len(recorded) != len(sent):
            yield f"{path or 'it'} has {len(sent)} elements, it had {len(recorded)}"
    elif recorded != sent:
        if isinstance(recorded, str) and isinstance(sent, str) and normal(recorded) == normal(sent):
            return
        yield _line(path, recorded, sent)


def _line(path: str, recorded: Any, sent: Any) -> str:
    if isinstance(recorded, str) and isinstance(sent, str):
        same = next((place for place, pair in enumerate(zip(recorded, sent, strict=False)) if pair[0] != pair[1]), 0)
        begin = max(0, same - _LONGEST // 4) if same > _LONGEST // 2 else 0
        recorded, sent = recorded[begin:], sent[begin:]
    return f"{path or 'it'} is {_short(sent)}, it was {_short(recorded)}"


def _short(value: Any) -> str:
    shown = orjson.dumps(value).decode()
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
