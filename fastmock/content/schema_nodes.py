"""The nodes that a JSON Schema is compiled into: each makes values of its part."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from random import Random
from typing import Any

import orjson

Path = tuple[str | int, ...]

LARGEST = 100_000
"""Values and characters that a schema may ask for at the least."""

NEVER = math.inf
"""The depth of what no value fits."""

_MANY = 200  # values after which only what has to be is made
_TRIES = 20
_DRAWS = 200  # of what is only found by trying
_LEAST_DRAWS = 8  # of what is large
_LEFT = (_MANY, 0, _MANY, _MANY, 3, 0, 1)  # values made freely in each of them, again and again
_VARIETY = 8  # values that are found so
_ENOUGH = 10_000  # parts that these have together


class SchemaError(Exception):
    """A schema that nothing can be made for: the path inside it, and what is wrong there."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def canonical(value: Any) -> bytes:
    """Return the same of values that JSON Schema holds for equal: 1 and 1.0, but not true."""
    return orjson.dumps(_plain(value), option=orjson.OPT_SORT_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value if type(value) is not int or -(2**63) <= value < 2**64 else float(value)


def same(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    return canonical(one) == canonical(other)


class Making:
    """One value being made.

    Attributes:
        random: its draws.
        left: how many values are left to be made freely.
        wide: whether it is to be as unlike others as can be, rather than usual.
    """

    def __init__(self, random: Random, left: int = _MANY, wide: bool = False) -> None:
        self.random, self.left, self.wide = random, left, wide


class Node:
    """A compiled part of a schema.

    Attributes:
        path: where it stands.
        depth: levels that the least deep value has; infinite where there is none.
        size: values and characters in that.
    """

    depth: float = NEVER
    size: float = NEVER

    def __init__(self, path: Path) -> None:
        self.path = path

    def measure(self) -> tuple[float, float]:
        """Return depth and size, from those of what is inside."""
        return 0, 1

    def make(self, making: Making, depth: float) -> Any:
        """Return a value, at most ``depth`` levels deep where it can be so."""
        raise AssertionError

    def inside(self) -> "Iterable[Node]":
        """Return the nodes that every value needs."""
        return ()

    def values(self, depth: int = 9) -> list[Any] | None:
        """Return all values, where they are few and found ``depth`` references deep, else None."""
        return None


class Never(Node):
    """Nothing fits."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(path)
        self.message = message

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return NEVER, NEVER

    def values(self, depth: int = 9) -> list[Any] | None:
        """See Node."""
        return []


class Made(Node):
    """A value without parts."""

    def __init__(
        self,
        path: Path,
        make: Callable[[Random], Any],
        size: int = 1,
        wide: Callable[[Random], Any] | None = None,
        values: Callable[[], list[Any] | None] = lambda: None,
    ) -> None:
        """Take what makes values, what makes more than those where there are more, and all there are where few."""
        super().__init__(path)
        self._make = make
        self._size = size
        self._wide = wide or make
        self._values = values

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return 0, self._size

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        making.left -= 1
        return (self._wide if making.wide else self._make)(making.random)

    def values(self, depth: int = 9) -> list[Any] | None:
        """See Node."""
        return self._values()


class Ref(Node):
    """A part that stands elsewhere, and may contain itself."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.target: Node = Never(path, "")

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return self.target.depth + 1, self.target.size  # a level too, for a choice may lead back to itself

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        return self.target.make(making, depth - 1)

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return (self.target,)

    def values(self, depth: int = 9) -> list[Any] | None:
        """See Node."""
        return self.target.values(depth - 1) if depth else None


class Choice(Node):
    """One of several."""

    def __init__(self, path: Path, nodes: list[Node], nulls: list[Node]) -> None:
        super().__init__(path)
        self._nodes, self._nulls = nodes, nulls

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return min((node.depth, node.size) for node in (*self._nodes, *self._nulls))

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        if making.left <= 0:
            depth = self.depth
        groups = ((*self._nodes, *self._nulls),) if making.wide else (self._nodes, self._nulls)
        for nodes in groups:  # null only where nothing else goes
            if fitting := [node for node in nodes if node.depth <= depth and node.size <= LARGEST]:
                return making.random.choice(fitting).make(making, depth)
        least = min((*self._nodes, *self._nulls), key=lambda node: (node.depth, node.size))
        return least.make(making, depth)

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return (*self._nodes, *self._nulls)[:1]

    def values(self, depth: int = 9) -> list[Any] | None:
        """See Node."""
        found: list[Any] = []
        for node in (*self._nodes, *self._nulls):
            values = node.values(depth)
            if values is None:
                return None
            found += values
        return found


class Object(Node):
    """An object: all that is required, and what is optional as far as there is room."""

    def __init__(self, path: Path, required: Mapping[str, Node], optional: Mapping[str, Node], most: float) -> None:
        super().__init__(path)
        self._required, self._optional, self._most = required, optional, most

    def measure(self) -> tuple[float, float]:
        """See Node."""
        depths = [node.depth for node in self._required.values()]
        return 1 + max(depths, default=0), 1 + sum(node.size for node in self._required.values())

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        making.left -= 1
        chosen = dict(self._required)
        for name, node in self._optional.items():
            if making.wide and making.random.random() < 0.5:
                continue
            if node.depth < depth and node.size <= LARGEST and making.left > 0 and len(chosen) < self._most:
                chosen[name] = node
        return {name: node.make(making, depth - 1) for name, node in chosen.items()}

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return self._required.values()


class Array(Node):
    """An array: first its own parts, then items."""

    def __init__(self, path: Path, first: list[Node], items: Node, bounds: tuple[int, float], unique: bool) -> None:
        super().__init__(path)
        self._first, self._items, self._unique = first, items, unique
        self._least, self._most = bounds

    def measure(self) -> tuple[float, float]:
        """See Node."""
        needed = list(self.inside())
        more = max(0, self._least - len(self._first))
        size = sum(node.size for node in self._first[: self._least]) + (more * self._items.size if more else 0)
        return 1 + max((node.depth for node in needed), default=0), 1 + size

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return (*self._first[: self._least], *((self._items,) if self._least > len(self._first) else ()))

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        making.left -= 1
        wanted = min(max(self._least, len(self._first), making.random.randint(1, 2)), self._most)
        made: list[Any] = []
        seen: set[bytes] = set()
        left: dict[int, Iterator[Any]] = {}
        while len(made) < wanted:
            node = self._first[len(made)] if len(made) < len(self._first) else self._items
            free = node.depth < depth and node.size <= LARGEST and making.left > 0
            if len(made) >= self._least and not free:
                break
            if self._unique:
                value = _unlike(node, making, depth - 1, seen, left)
                if canonical(value) in seen:
                    break  # also where there have to be more: then it is found not to fit
                seen.add(canonical(value))
            else:
                value = node.make(making, depth - 1)
            made.append(value)
        return made


def _unlike(node: Node, making: Making, depth: float, seen: set[bytes], left: dict[int, Iterator[Any]]) -> Any:
    """Return a value that was not seen, if one is found; ``left`` keeps what was not yet tried of few."""
    wide = making.wide
    for tries in range(0 if id(node) in left else _TRIES):
        making.wide = wide or tries > 2
        value = node.make(making, depth)
        if canonical(value) not in seen:
            break
    else:
        few = left.setdefault(id(node), iter(node.values() or ()))
        unseen = list(islice((other for other in few if canonical(other) not in seen), 1))
        value = unseen[0] if unseen else node.make(making, depth)
    making.wide = wide
    return value


class Checked(Node):
    """What is only found by trying: of what another node makes some values that fit, found once."""

    def __init__(self, path: Path, node: Node, fits: Callable[[Any], bool]) -> None:
        super().__init__(path)
        self.message = ""
        self._node, self._fits = node, fits
        self._found: list[Any] | None = None

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return (NEVER, NEVER) if self.message else (self._node.depth, self._node.size)

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return (self._node,)

    def find(self, deeper: int) -> bool:
        """Look for values, up to so many levels deeper than need be; return whether there are any."""
        self._found = []  # what contains itself makes what it contains without looking
        found: dict[bytes, Any] = {}
        for number in range(max(_LEAST_DRAWS, min(_DRAWS, int(2 * _ENOUGH / self.size)))):
            making = Making(Random(number), _LEFT[number % len(_LEFT)], wide=number % 4 == 3)
            value = self._node.make(making, self.depth + (deeper if making.left else 0))
            if self._fits(value):
                found.setdefault(canonical(value), value)
                if len(found) * self.size >= _ENOUGH or len(found) >= _VARIETY:
                    break
        self._found = list(found.values())
        if not found:
            self.message = "no value was found that fits it"
        return bool(found)

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        if not self._found:
            return self._node.make(making, depth)
        making.left -= 1
        return making.random.choice(self._found)


def reason(node: Node) -> SchemaError:
    """Return why nothing fits a node: what inside it cannot be."""
    seen: set[int] = set()
    while id(node) not in seen:
        seen.add(id(node))
        if isinstance(node, Never | Checked) and node.message:
            return SchemaError(node.path, node.message)
        node = next(inner for inner in node.inside() if inner.depth == NEVER)
    return SchemaError(node.path, "contains itself without end")
