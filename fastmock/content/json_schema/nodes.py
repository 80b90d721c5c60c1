"""The nodes that a JSON Schema is compiled into: each generates the values of its part."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from random import Random
from typing import Any

import orjson
from typing_extensions import override

from fastmock.content.json_schema.budget import Budget

Path = tuple[str | int, ...]

LARGEST = 100_000
"""The maximum number of values and characters in the smallest value of a schema."""

NEVER = math.inf
"""The depth of a node without values."""

ROOM = 5_000
"""Values and characters above which optional parts are left out."""

_MANY = 200  # values after which only required parts are generated
_TRIES = 20
_DRAWS = 200  # candidates for a validated node
_LEAST_DRAWS = 8  # candidates for a large one
_LEFT = (_MANY, 0, _MANY, _MANY, 3, 0, 1)  # values generated freely in each candidate, in rotation
_VARIETY = 8  # values found in this way
_ENOUGH = 10_000  # parts of these values together
_ENOUGH_STEPS = 3_000  # steps of looking for more than one value
_MOST_STEPS = 40_000  # steps of looking for the first value
_LONGEST_MESSAGE = 300


class SchemaError(Exception):
    """A schema is unsatisfiable or invalid: has the path inside it, and a message."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…")
        self.path = path


def canonical(value: Any) -> bytes:
    """Return equal bytes for values that JSON Schema regards as equal: for 1 and 1.0, but not for true."""
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
    """Compare two values by JSON's rules: true is not 1."""
    return canonical(one) == canonical(other)


class Making:
    """The generation of one value.

    Attributes:
        random: the generator to draw from.
        budget: the limit on its work.
        left: the number of values that may still be generated freely.
        wide: generate unusual values, as different from others as possible.
    """

    def __init__(self, random: Random, budget: Budget, left: int = _MANY, wide: bool = False) -> None:
        self.random, self.budget, self.left, self.wide = random, budget, left, wide


class Node:
    """A compiled part of a schema.

    Attributes:
        path: its path in the schema.
        depth: levels of nesting of its least deep value; infinite without one.
        size: values and characters in that value.
    """

    depth: float = NEVER
    size: float = NEVER

    def __init__(self, path: Path) -> None:
        self.path = path

    parts: int = 0
    """The number of nodes that measuring it reads."""

    def measure(self) -> tuple[float, float]:
        """Return depth and size, from those of the inner nodes."""
        return 0, 1

    def make(self, making: Making, depth: float) -> Any:
        """Return a value, at most ``depth`` levels deep if possible."""
        raise AssertionError

    def inside(self) -> "Iterable[Node]":
        """Return the nodes that every value needs."""
        return ()

    def values(self, budget: Budget, depth: int = 9) -> list[Any] | None:
        """Return all values if they are few and found within ``depth`` references, else None."""
        return None


class Never(Node):
    """A node without values."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(path)
        self.message = message

    @override
    def measure(self) -> tuple[float, float]:
        return NEVER, NEVER

    @override
    def values(self, budget: Budget, depth: int = 9) -> list[Any] | None:
        return []


class Made(Node):
    """A node for values without parts."""

    def __init__(
        self,
        path: Path,
        make: Callable[[Random], Any],
        size: int = 1,
        wide: Callable[[Random], Any] | None = None,
        values: Callable[[], list[Any] | None] = lambda: None,
        steps: int = 2,
    ) -> None:
        """Take functions that generate usual values, more varied ones if there are any, and all values if they are few.

        ``steps`` is the work per value, in addition to that for its characters.
        """
        super().__init__(path)
        self._make = make
        self._size = size
        self._wide = wide or make
        self._values = values
        self._steps = steps + size // 10

    @override
    def measure(self) -> tuple[float, float]:
        return 0, self._size

    @override
    def make(self, making: Making, depth: float) -> Any:
        making.left -= 1 + self._size // 50
        making.budget.spend(self._steps)
        return (self._wide if making.wide else self._make)(making.random)

    @override
    def values(self, budget: Budget, depth: int = 9) -> list[Any] | None:
        budget.spend()
        values = self._values()
        budget.spend(len(values or ()))
        return values


class Ref(Node):
    """A reference to another part, possibly recursive."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.target: Node = Never(path, "")

    @override
    def measure(self) -> tuple[float, float]:
        return self.target.depth + 1, self.target.size  # counts as a level, because a choice may refer back to itself

    @override
    def make(self, making: Making, depth: float) -> Any:
        return self.target.make(making, depth - 1)

    @override
    def inside(self) -> Iterable[Node]:
        return (self.target,)

    @override
    def values(self, budget: Budget, depth: int = 9) -> list[Any] | None:
        budget.spend()
        return self.target.values(budget, depth - 1) if depth else None


class Choice(Node):
    """One of several alternatives."""

    def __init__(self, path: Path, nodes: list[Node], nulls: list[Node]) -> None:
        super().__init__(path)
        self._nodes, self._nulls = nodes, nulls
        self.parts = len(nodes) + len(nulls)

    @override
    def measure(self) -> tuple[float, float]:
        return min((node.depth, node.size) for node in (*self._nodes, *self._nulls))

    @override
    def make(self, making: Making, depth: float) -> Any:
        making.budget.spend(1 + self.parts // 5)
        if making.left <= 0:
            depth = self.depth
        groups = ((*self._nodes, *self._nulls),) if making.wide else (self._nodes, self._nulls)
        for nodes in groups:  # null only if nothing else is possible
            if fitting := [node for node in nodes if node.depth <= depth and node.size <= ROOM]:
                return making.random.choice(fitting).make(making, depth)
        least = min((*self._nodes, *self._nulls), key=lambda node: (node.depth, node.size))
        return least.make(making, depth)

    @override
    def inside(self) -> Iterable[Node]:
        return (*self._nodes, *self._nulls)[:1]

    @override
    def values(self, budget: Budget, depth: int = 9) -> list[Any] | None:
        found: list[Any] = []
        for node in (*self._nodes, *self._nulls):
            values = node.values(budget, depth)
            if values is None:
                return None
            budget.spend(1 + len(values) // 10)
            found += values
        return found


class Object(Node):
    """An object: all required properties, and the optional ones as far as there is room."""

    def __init__(self, path: Path, required: Mapping[str, Node], optional: Mapping[str, Node], most: float) -> None:
        super().__init__(path)
        self._required, self._optional, self._most = required, optional, most
        self.parts = len(required)

    @override
    def measure(self) -> tuple[float, float]:
        depths = [node.depth for node in self._required.values()]
        return 1 + max(depths, default=0), 1 + sum(node.size for node in self._required.values())

    @override
    def make(self, making: Making, depth: float) -> Any:
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

    @override
    def inside(self) -> Iterable[Node]:
        return self._required.values()


class Array(Node):
    """An array: its prefix items, then further items."""

    def __init__(self, path: Path, first: list[Node], items: Node, bounds: tuple[int, float], unique: bool) -> None:
        super().__init__(path)
        self._first, self._items, self._unique = first, items, unique
        self._least, self._most = bounds
        self.parts = len(first) + 1

    @override
    def measure(self) -> tuple[float, float]:
        needed = list(self.inside())
        more = max(0, self._least - len(self._first))
        size = sum(node.size for node in self._first[: self._least]) + (more * self._items.size if more else 0)
        return 1 + max((node.depth for node in needed), default=0), 1 + size

    @override
    def inside(self) -> Iterable[Node]:
        return (*self._first[: self._least], *((self._items,) if self._least > len(self._first) else ()))

    @override
    def make(self, making: Making, depth: float) -> Any:
        making.left -= 1
        wanted = min(max(self._least, len(self._first), making.random.randint(1, 2)), self._most)
        items: list[Any] = []
        seen: set[bytes] = set()
        left: dict[int, Iterator[Any]] = {}
        while len(items) < wanted:
            node = self._first[len(items)] if len(items) < len(self._first) else self._items
            free = node.depth < depth and node.size <= ROOM and making.left > 0
            making.budget.spend()
            if len(items) >= self._least and not free:
                break
            if self._unique:
                value, key = _unlike(node, making, depth - 1, seen, left)
                if key in seen:
                    break  # also if more items are required: then the value is found not to conform
                seen.add(key)
            else:
                value = node.make(making, depth - 1)
            items.append(value)
        return items


def _key(value: Any, making: Making) -> bytes:
    key = canonical(value)
    making.budget.spend(1 + len(key) // 10)
    return key


def _unlike(
    node: Node, making: Making, depth: float, seen: set[bytes], left: dict[int, Iterator[Any]]
) -> tuple[Any, bytes]:
    """Return a value that was not seen, if one is found, and its key; ``left`` holds untried values of nodes
    with few.
    """
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
    """A node whose values are found by validating candidates of another node, once."""

    def __init__(self, path: Path, node: Node, fits: Callable[[Any], bool]) -> None:
        super().__init__(path)
        self.message = ""
        self._node, self._fits = node, fits
        self.parts = 1
        self._found: list[Any] | None = None

    @override
    def measure(self) -> tuple[float, float]:
        return (NEVER, NEVER) if self.message else (self._node.depth, self._node.size)

    @override
    def inside(self) -> Iterable[Node]:
        return (self._node,)

    def find(self, deeper: int, budget: Budget) -> bool:
        """Look for values, up to ``deeper`` levels deeper than necessary; return whether there are any."""
        begun = budget.spent
        self._found = []  # a recursive node generates its inner values without validation
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

    @override
    def make(self, making: Making, depth: float) -> Any:
        if not self._found:
            return self._node.make(making, depth)
        making.left -= 1
        making.budget.spend()
        return making.random.choice(self._found)


def reason(node: Node) -> SchemaError:
    """Return the error for an unsatisfiable node: the inner part that causes it."""
    seen: set[int] = set()
    while id(node) not in seen:
        seen.add(id(node))
        if isinstance(node, Never | Checked) and node.message:
            return SchemaError(node.path, node.message)
        node = next(inner for inner in node.inside() if inner.depth == NEVER)
    return SchemaError(node.path, "contains itself without end")
