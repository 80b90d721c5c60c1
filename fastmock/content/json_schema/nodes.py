"""The nodes that a JSON Schema is compiled into: each makes values of its part."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from random import Random
from typing import Any

import orjson

from fastmock.content.json_schema.budget import Budget

Path = tuple[str | int, ...]

LARGEST = 100_000
"""Values and characters that a schema may ask for at the least."""

NEVER = math.inf
"""The depth of what no value fits."""

ROOM = 5_000
"""Values and characters beyond which what is optional is left out."""

_MANY = 200  # values after which only what has to be is made
_TRIES = 20
_DRAWS = 200  # of what is only found by trying
_LEAST_DRAWS = 8  # of what is large
_LEFT = (_MANY, 0, _MANY, _MANY, 3, 0, 1)  # values made freely in each of them, again and again
_VARIETY = 8  # values that are found so
_ENOUGH = 10_000  # parts that these have together
_ENOUGH_STEPS = 3_000  # of looking for more than one of them
_MOST_STEPS = 40_000  # of looking for the first
_LONGEST_MESSAGE = 300


class SchemaError(Exception):
    """A schema that nothing can be made for: the path inside it, and what is wrong there."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…")
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
        budget: the work that may be done for it.
        left: how many values are left to be made freely.
        wide: whether it is to be as unlike others as can be, rather than usual.
    """

    def __init__(self, random: Random, budget: Budget, left: int = _MANY, wide: bool = False) -> None:
        self.random, self.budget, self.left, self.wide = random, budget, left, wide


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

    parts: int = 0
    """How many nodes are looked at to measure it."""

    def measure(self) -> tuple[float, float]:
        """Return depth and size, from those of what is inside."""
        return 0, 1

    def make(self, making: Making, depth: float) -> Any:
        """Return a value, at most ``depth`` levels deep where it can be so."""
        raise AssertionError

    def inside(self) -> "Iterable[Node]":
        """Return the nodes that every value needs."""
        return ()

    def values(self, budget: Budget, depth: int = 9) -> list[Any] | None:
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

    def values(self, budget: Budget, depth: int = 9) -> list[Any] | None:
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
        steps: int = 2,
    ) -> None:
        """Take what makes values, what makes more than those where there are more, and all there are where few.

        ``steps`` is the work that a value takes, beside that of its characters.
        """
        super().__init__(path)
        self._make = make
        self._size = size
        self._wide = wide or make
        self._values = values
        self._steps = steps + size // 10

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return 0, self._size

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        making.left -= 1 + self._size // 50
        making.budget.spend(self._steps)
        return (self._wide if making.wide else self._make)(making.random)

    def values(self, budget: Budget, depth: int = 9) -> list[Any] | None:
        """See Node."""
        budget.spend()
        values = self._values()
        budget.spend(len(values or ()))
        return values


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

    def values(self, budget: Budget, depth: int = 9) -> list[Any] | None:
        """See Node."""
        budget.spend()
        return self.target.values(budget, depth - 1) if depth else None


class Choice(Node):
    """One of several."""

    def __init__(self, path: Path, nodes: list[Node], nulls: list[Node]) -> None:
        super().__init__(path)
        self._nodes, self._nulls = nodes, nulls
        self.parts = len(nodes) + len(nulls)

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return min((node.depth, node.size) for node in (*self._nodes, *self._nulls))

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        making.budget.spend(1 + self.parts // 5)
        if making.left <= 0:
            depth = self.depth
        groups = ((*self._nodes, *self._nulls),) if making.wide else (self._nodes, self._nulls)
        for nodes in groups:  # null only where nothing else goes
            if fitting := [node for node in nodes if node.depth <= depth and node.size <= ROOM]:
                return making.random.choice(fitting).make(making, depth)
        least = min((*self._nodes, *self._nulls), key=lambda node: (node.depth, node.size))
        return least.make(making, depth)

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return (*self._nodes, *self._nulls)[:1]

    def values(self, budget: Budget, depth: int = 9) -> list[Any] | None:
        """See Node."""
        found: list[Any] = []
        for node in (*self._nodes, *self._nulls):
            values = node.values(budget, depth)
            if values is None:
                return None
            budget.spend(1 + len(values) // 10)
            found += values
        return found


class Object(Node):
    """An object: all that is required, and what is optional as far as there is room."""

    def __init__(self, path: Path, required: Mapping[str, Node], optional: Mapping[str, Node], most: float) -> None:
        super().__init__(path)
        self._required, self._optional, self._most = required, optional, most
        self.parts = len(required)

    def measure(self) -> tuple[float, float]:
        """See Node."""
        depths = [node.depth for node in self._required.values()]
        return 1 + max(depths, default=0), 1 + sum(node.size for node in self._required.values())

    def make(self, making: Making, depth: float) -> Any:
        """See Node."""
        making.left -= 1
        making.budget.spend(1 + len(self._required) // 2 + len(self._optional) // 2)
        chosen = dict(self._required)
        room: float = ROOM
        for name, node in self._optional.items():
            if making.wide and making.random.random() < 0.5:
                continue
            if node.depth < depth and node.size <= room and making.left > 0 and len(chosen) < self._most:
                chosen[name] = node
                room -= node.size
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
        self.parts = len(first) + 1

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
            free = node.depth < depth and node.size <= ROOM and making.left > 0
            making.budget.spend()
            if len(made) >= self._least and not free:
                break
            if self._unique:
                value, key = _unlike(node, making, depth - 1, seen, left)
                if key in seen:
                    break  # also where there have to be more: then it is found not to fit
                seen.add(key)
            else:
                value = node.make(making, depth - 1)
            made.append(value)
        return made


def _key(value: Any, making: Making) -> bytes:
    key = canonical(value)
    making.budget.spend(1 + len(key) // 10)
    return key


def _unlike(
    node: Node, making: Making, depth: float, seen: set[bytes], left: dict[int, Iterator[Any]]
) -> tuple[Any, bytes]:
    """Return a value that was not seen, if one is found, and its key; ``left`` keeps what was not tried of few."""
    wide = making.wide
    for tries in range(0 if id(node) in left else _TRIES):
        making.wide = wide or tries > 2 or len(seen) > _MANY
        value = node.make(making, depth)
        key = _key(value, making)
        if key not in seen:
            break
    else:
        if id(node) not in left:
            left[id(node)] = iter(node.values(making.budget) or ())
        unseen = list(islice((other for other in left[id(node)] if _key(other, making) not in seen), 1))
        value = unseen[0] if unseen else node.make(making, depth)
        key = _key(value, making)
    making.wide = wide
    return value, key


class Checked(Node):
    """What is only found by trying: of what another node makes some values that fit, found once."""

    def __init__(self, path: Path, node: Node, fits: Callable[[Any], bool]) -> None:
        super().__init__(path)
        self.message = ""
        self._node, self._fits = node, fits
        self.parts = 1
        self._found: list[Any] | None = None

    def measure(self) -> tuple[float, float]:
        """See Node."""
        return (NEVER, NEVER) if self.message else (self._node.depth, self._node.size)

    def inside(self) -> Iterable[Node]:
        """See Node."""
        return (self._node,)

    def find(self, deeper: int, budget: Budget) -> bool:
        """Look for values, up to so many levels deeper than need be; return whether there are any."""
        begun = budget.spent
        self._found = []  # what contains itself makes what it contains without looking
        found: dict[bytes, Any] = {}
        for number in range(max(_LEAST_DRAWS, min(_DRAWS, int(2 * _ENOUGH / self.size)))):
            budget.spend(10)
            making = Making(Random(number), budget, _LEFT[number % len(_LEFT)], wide=number % 4 == 3)
            value = self._node.make(making, self.depth + (deeper if making.left else 0))
            if self._fits(value):
                found.setdefault(_key(value, making), value)
                if len(found) * self.size >= _ENOUGH or len(found) >= _VARIETY:
                    break
            spent = budget.spent - begun
            if spent > _MOST_STEPS if not found else spent > _ENOUGH_STEPS:
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
        making.budget.spend()
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
