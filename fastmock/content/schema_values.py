"""Values of a JSON Schema that have no parts: what is listed, numbers and strings."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import permutations
from random import Random
from typing import Any

import orjson

from fastmock.content.formats import FORMATS, Format
from fastmock.content.made import LOREM
from fastmock.content.patterns import Pattern, PatternError
from fastmock.content.schema_nodes import Made, Never, Node, Path, SchemaError

LARGEST = 100_000
"""Values and characters that a schema may ask for at the least."""

ALSO = "$also"
"""A word of schemas that were laid together: what of one could not be laid into the other; it is asked for too."""

_SPAN = 100  # of a number with one bound
_TRIES = 20
_MANY_TRIES = 1000
_MANY = 100  # places where a text is cut
_LEAST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**64 - 1  # that orjson writes


def same(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)


def to_number(value: Any, key: str, path: Path) -> float:
    """Return a number, which the value of ``key`` must be; raise SchemaError where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SchemaError((*path, key), "must be a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise SchemaError((*path, key), "must be a finite number")
    return value


def bounds(schema: dict[str, Any], what: str, path: Path) -> tuple[int, float]:
    """Return the least and the most of a length."""
    least = math.ceil(to_number(schema.get(f"min{what}", 0), f"min{what}", path))
    most = to_number(schema[f"max{what}"], f"max{what}", path) if f"max{what}" in schema else math.inf
    if least > most:
        raise SchemaError((*path, f"min{what}"), f"{least} is more than the 'max{what}' of {most}")
    if least > LARGEST:
        raise SchemaError((*path, f"min{what}"), f"{least} is more than can be made")
    return max(0, least), most


def listed(schema: dict[str, Any], path: Path) -> Node:
    """Compile ``const`` and ``enum``."""
    word = "const" if "const" in schema else "enum"
    values = [schema["const"]] if word == "const" else schema["enum"]
    if not values:
        return Never((*path, word), "must be a list with at least one value")
    if word == "const" and "enum" in schema:
        values = [value for value in values if any(same(value, other) for other in schema["enum"])]
    fitting = [value for value in values if admits(schema, value, path)]
    if not fitting:
        return Never((*path, word), "none of its values fits what else is asked for")
    fitting = [value for value in fitting if value is not None] or fitting
    return Made(path, lambda random: random.choice(fitting))


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def admits(schema: dict[str, Any], value: Any, path: Path) -> bool:
    """Return whether a listed value fits what else is asked for; what is inside of it is not looked at."""
    kind = schema.get("type")
    if isinstance(kind, str) and (
        not isinstance(value, _TYPES.get(kind, ())) or (isinstance(value, bool) and kind != "boolean")
    ):
        return kind == "integer" and isinstance(value, float) and value.is_integer()
    if isinstance(value, str):
        least, most = bounds(schema, "Length", path)
        form = FORMATS.get(schema.get("format", ""))
        return (
            least <= len(value) <= most
            and (form is None or form.holds(value))
            and all(pattern_of(pattern, {}, path).admits(value) for pattern in patterns_of(schema))
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high, step = _range(schema, path)
        return low <= value <= high and not (
            value in (schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum"))
            or (step and Fraction(str(value)) % Fraction(str(step)))
        )
    return True


def patterns_of(schema: dict[str, Any]) -> list[Any]:
    """Return all patterns that a text has to hold."""
    return [part["pattern"] for part in (schema, *schema.get(ALSO, ())) if "pattern" in part]


def pattern_of(pattern: Any, schema: dict[str, Any], path: Path) -> Pattern:
    """Compile a pattern for a text; raise SchemaError where nothing fits it."""
    try:
        return Pattern(pattern, *bounds(schema, "Length", path))
    except PatternError as error:
        raise SchemaError((*path, "pattern"), str(error)) from None


def scalar(kind: Any, schema: dict[str, Any], path: Path) -> Node:
    """Compile a value without parts, of the type ``kind``."""
    if kind == "string":
        return _string(schema, path)
    if kind in ("number", "integer"):
        return Made(path, _numbers(schema, kind == "integer", path))
    if kind == "boolean":
        return Made(path, lambda random: random.random() < 0.5)
    if kind == "null":
        return Made(path, lambda random: None)
    return Never((*path, "type"), f"there is no type {kind!r}")


def _string(schema: dict[str, Any], path: Path) -> Node:
    least, most = bounds(schema, "Length", path)
    form = FORMATS.get(schema.get("format", ""))
    made = None if form is None else form.within(least, most)
    if form is not None and made is None:
        return Never((*path, "format"), f"a {schema['format']} of this length cannot be made")
    patterns = [pattern_of(pattern, schema, path) for pattern in patterns_of(schema)]
    if form is not None and made is not None and patterns:
        made = _alike(form, made, patterns, (least, most), (*path, "pattern"))
    elif len(patterns) > 1:
        made = _alike(None, None, patterns, (least, most), (*path, "pattern"))
    elif patterns:
        made = patterns[0].make
    return Made(path, made or _words(least, most), 1 + least)


def _words(least: int, most: float) -> Callable[[Random], str]:
    def words(random: Random) -> str:
        start = random.randrange(len(LOREM))
        said = " ".join((LOREM[start:] + LOREM)[: random.randint(1, 3)]).strip(",.")
        while len(said) < least:
            said += " " + said
        return said if len(said) <= most else said[: int(most)]

    return words


def _alike(
    form: Format | None,
    made: Callable[[Random], str] | None,
    patterns: list[Pattern],
    length: tuple[int, float],
    at: Path,
) -> Callable[[Random], str]:
    """Return what makes texts that are of a format and in which all patterns are found."""
    sources = [*([made] if made else []), *(pattern.make for pattern in patterns)]

    def found(random: Random, tries: int) -> str | None:
        for _ in range(tries):
            for text in _mixed([source(random) for source in sources]):
                if (
                    length[0] <= len(text) <= length[1]
                    and (form is None or form.holds(text))
                    and all(pattern.admits(text) for pattern in patterns)
                ):
                    return text
        return None

    sample = found(Random(0), 5 * _TRIES)
    if sample is None:
        raise SchemaError(at, "no text was found that matches it and fits what else is asked for")

    def alike(random: Random) -> str:
        return found(random, _TRIES) or sample

    return alike


def _mixed(texts: list[str]) -> Iterator[str]:
    """Yield texts that may be like all of some: themselves, and what begins as one and ends as another."""
    yield from texts
    if len(texts) < 5:
        yield from map("".join, permutations(texts))
    for one, other in permutations(texts, 2):
        for cut in range(min(len(one), _MANY) + 1):
            yield other + one[cut:]
            yield one[:cut] + other
    for text in texts:  # more may stand around what has to be found
        yield f"a{text}"
        yield f"{text}a"


def _range(schema: dict[str, Any], path: Path) -> tuple[float, float, float]:
    """Return the least and the most, and what it has to be a multiple of; 0 without."""
    words = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
    found = {word: to_number(schema[word], word, path) for word in words if word in schema}
    low = max(found.get("minimum", -math.inf), found.get("exclusiveMinimum", -math.inf))
    high = min(found.get("maximum", math.inf), found.get("exclusiveMaximum", math.inf))
    step = found.get("multipleOf", 0)
    if step < 0 or ("multipleOf" in found and step == 0):
        raise SchemaError((*path, "multipleOf"), "must be above 0")
    return low, high, step


def _numbers(schema: dict[str, Any], whole: bool, path: Path) -> Callable[[Random], Any]:
    """Return what makes numbers."""
    low, high, step = _range(schema, path)
    outside = {schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")}
    at = (
        *path,
        next((w for w in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum") if w in schema), "type"),
    )
    if low == -math.inf:
        low = (
            1
            if high > max(1 + _SPAN, step)
            else max(-sys.float_info.max, high - max(_SPAN, abs(high) * 1e-3, 20 * step))
        )
    if high == math.inf:
        high = min(sys.float_info.max, low + max(_SPAN, abs(low) * 1e-3, 20 * step))
    if whole or step:
        return _multiples(low, high, Fraction(str(step)) if step else Fraction(1), whole, outside, at)
    least, most = _float_within(low, outside, math.inf), _float_within(high, outside, -math.inf)
    if least > most:
        raise SchemaError(at, "no number fits these bounds")

    def decimal(random: Random) -> Any:
        value = low + (high - low) * random.random()
        for digits in (2, 6, 12):
            if low < round(value, digits) < high:
                return round(value, digits)
        return min(max(value, least), most)

    return decimal


def _float_within(bound: float, outside: set[Any], to: float) -> float:
    """Return the float that is nearest to a bound on the side ``to`` of it, which the bound itself may be."""
    found = float(bound)
    if found == bound:
        return math.nextafter(found, to) if bound in outside else found
    return found if (found > bound) == (to > 0) else math.nextafter(found, to)


def _multiples(
    low: float, high: float, step: Fraction, whole: bool, outside: set[Any], at: Path
) -> Callable[[Random], Any]:
    """Return what makes multiples of ``step`` within bounds, whole ones if need be."""
    unit = Fraction(step.numerator) if whole else step
    first, last = math.ceil(Fraction(str(low)) / unit), math.floor(Fraction(str(high)) / unit)
    first += first * unit in outside
    last -= last * unit in outside
    if first > last:
        raise SchemaError(at, "no number fits these bounds")
    near = max(abs(first), abs(last)) * unit <= 2**53  # whole numbers of which each has a float

    def found(random: Random, tries: int) -> Any:
        for _ in range(tries):
            made = random.randint(first, last) * unit
            if made.denominator == 1 and _LEAST_INTEGER <= made <= _LARGEST_INTEGER:
                return made.numerator
            value = float(made)
            if _fits(value, low, high, step, outside, near):
                return value
        return None

    sample = found(Random(0), _MANY_TRIES)
    if sample is None:
        raise SchemaError(at, "no number fits these bounds that JSON can hold")

    def multiple(random: Random) -> Any:
        value = found(random, _TRIES)
        return sample if value is None else value

    return multiple


def _fits(value: float, low: float, high: float, step: Fraction, outside: set[Any], near: bool) -> bool:
    """Return whether a float is a multiple within bounds, however a validator divides."""
    if not (low <= value <= high) or value in outside or not (value / float(step)).is_integer():
        return False
    if near:
        return True
    told_alike = step > 2**53 or step.denominator > 1 or Fraction(value) % step == 0
    return told_alike and Fraction(str(value)) % step == 0  # what is written is a decimal, what is read of it is not
