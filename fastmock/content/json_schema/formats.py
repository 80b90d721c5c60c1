"""Strings for the formats of JSON Schema, with the required lengths."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Address, IPv6Address
from random import Random
from string import ascii_lowercase

from fastmock.content.filler import FILLER

_SOME = 9  # lengths to draw from


@dataclass(frozen=True, slots=True)
class Format:
    """A format.

    Attributes:
        usual: returns a typical string of the format.
        of_length: returns one with the given number of characters; any string if there is none.
        holds: returns whether a string conforms to the format.
    """

    usual: Callable[[Random], str]
    of_length: Callable[[Random, int], str]
    holds: Callable[[str], bool]

    def generator_for_lengths(self, least: int, most: float) -> Callable[[Random], str] | None:
        """Return a function that generates strings of ``least`` to ``most`` characters; None if there are none."""
        if least == 0 and most > 1e9:
            return self.usual
        first = least if most > 1e9 else max(least, int(most) - _SOME + 1)
        lengths = [length for length in range(first, first + _SOME) if length <= most and self._has(length)]
        sample = self.usual(Random(0))
        if not lengths and not least <= len(sample) <= most:
            return None

        def make(random: Random) -> str:
            text = self.usual(random)
            if least <= len(text) <= most:
                return text
            return self.of_length(random, random.choice(lengths)) if lengths else sample

        return make

    def _has(self, length: int) -> bool:
        text = self.of_length(Random(0), length)
        return len(text) == length and self.holds(text)


def _word(random: Random) -> str:
    return random.choice(FILLER)


def _letters(random: Random, length: int) -> str:
    return "".join(random.choices(ascii_lowercase, k=length))


def _number(random: Random, digits: int, those: str = "0123456789") -> str:
    """Return a number of the given number of digits, without a leading zero."""
    return random.choice(those[1:]) + "".join(random.choices(those, k=digits - 1))


def _hex(random: Random, digits: int) -> str:
    return f"{random.getrandbits(4 * digits):0{digits}x}"


def _date(random: Random) -> str:
    return f"20{random.randint(10, 29)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"


def _time(random: Random) -> str:
    return f"{random.randint(0, 23):02}:{random.randint(0, 59):02}:{random.randint(0, 59):02}Z"


def _date_time(random: Random) -> str:
    return f"{_date(random)}T{_time(random)}"


def _time_of(random: Random, length: int) -> str:
    time = _time(random)
    return time if length <= len(time) + 1 else f"{time[:-1]}.{_number(random, length - len(time) - 1)}Z"


def _date_time_of(random: Random, length: int) -> str:
    return f"{_date(random)}T{_time_of(random, length - 11)}"


def _duration(random: Random) -> str:
    return f"P{random.randint(1, 30)}DT{random.randint(1, 23)}H"


def _duration_of(random: Random, length: int) -> str:
    if length < 5:
        return f"P{_number(random, max(1, length - 2))}D"
    if length == 5:
        return f"PT{random.randint(10, 59)}M"
    if length < 9:
        return f"P{_number(random, 2 if length == 8 else 1)}DT{_number(random, 1)}{'' if length == 6 else '0'}H"
    return f"P{_number(random, length - 8)}DT{_number(random, 1)}H{random.randint(10, 59)}M"


def _host(random: Random) -> str:
    return f"{_word(random)}.example.com"


def _host_of(random: Random, length: int) -> str:
    if length < 4:
        return _letters(random, length)
    last = "co" if length == 4 else "com"
    labels = []
    left = length - len(last) - 1
    while left > 63:
        labels.append(_letters(random, 63 if left > 64 else 62))
        left -= len(labels[-1]) + 1
    return ".".join((*labels, _letters(random, left), last))


def _email(random: Random) -> str:
    return f"{_word(random)}@example.com"


def _email_of(random: Random, length: int) -> str:
    if length < 13:
        host = _host_of(random, max(1, min(6, length - 2)))
    else:
        host = "example.com" if length <= 76 else _host_of(random, length - 65)
    return f"{_letters(random, max(1, length - 1 - len(host)))}@{host}"


def _uri(random: Random) -> str:
    return f"https://{_host(random)}/"


def _uri_of(random: Random, length: int) -> str:
    if length < 8:
        return f"x:{_letters(random, max(0, length - 2))}"
    if length < 20:
        scheme = "https" if length > 10 else "ftp"
        return f"{scheme}://{_host_of(random, length - len(scheme) - 3)}"
    return f"https://example.com/{_letters(random, length - 20)}"


def _ipv4(random: Random) -> str:
    return f"192.0.2.{random.randint(1, 254)}"  # RFC 5737: for documentation


def _ipv4_of(random: Random, length: int) -> str:
    if length < 8:
        return ".".join(_number(random, 1) for _ in range(4))
    if length > 14:
        return f"192.168.{random.randint(100, 254)}.{random.randint(100, 254)}"
    least, more = divmod(length - 5, 3)  # digits after the "10" of a private network
    spread = ((1, 9), (10, 99), (100, 254))
    return ".".join(("10", *(str(random.randint(*spread[least - (place >= more)])) for place in range(3))))


def _ipv6(random: Random) -> str:
    return f"2001:db8::{random.randint(1, 0xFFFF):x}"  # RFC 3849: also for documentation


def _ipv6_of(random: Random, length: int) -> str:
    def group(digits: int) -> str:
        return _number(random, digits, "0123456789abcdef")

    if length < 15:
        start = next(start for start in ("2001:db8::", "fe80::", "::") if length > len(start) or start == "::")
        return start + (group(length - len(start)) if length > 2 else "")
    if length < 20:
        return f"2001:db8::{group(length - 15)}:{group(4)}" if length > 15 else f"2001:db8::{group(2)}:{group(2)}"
    start = "2001:0db8" if length > 38 else "2001:db8"
    least, more = divmod(length - len(start) - 6, 6)
    return ":".join((start, *(group(least + (place < more)) for place in range(6))))


def _uuid(random: Random) -> str:
    return f"{_hex(random, 8)}-{_hex(random, 4)}-4{_hex(random, 3)}-a{_hex(random, 3)}-{_hex(random, 12)}"


def _matches(pattern: str) -> Callable[[str], bool]:
    fullmatch = re.compile(pattern, re.ASCII | re.IGNORECASE).fullmatch
    return lambda text: fullmatch(text) is not None


def _is_read(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_is_time = _matches(r"(?:(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d|23:59:60)(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)")
_is_host = _matches(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_is_email = _matches(rf"(?=.{{1,254}}$)(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_looks_like_date = _matches(r"\d{4}-\d\d-\d\d")
_is_uri = _matches(r"(?!https?:/*$)[a-z][a-z0-9+.-]*:[^\s<>\"{}|\\^`]*")
_is_duration = _matches(r"P\d+W|P(?!$)(?:\d+Y)?(?:\d+M)?(?:\d+D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+S)?)?")


def _is_date(text: str) -> bool:
    return _looks_like_date(text) and _is_read(date.fromisoformat, text)


FORMATS: Mapping[str, Format] = {
    "date-time": Format(
        _date_time, _date_time_of, lambda text: _is_date(text[:10]) and text[10:11] in "Tt" and _is_time(text[11:])
    ),
    "date": Format(_date, lambda random, length: _date(random), _is_date),
    "time": Format(_time, _time_of, _is_time),
    "duration": Format(_duration, _duration_of, _is_duration),
    "email": Format(_email, _email_of, _is_email),
    "hostname": Format(_host, _host_of, _is_host),
    "ipv4": Format(_ipv4, _ipv4_of, lambda text: _is_read(IPv4Address, text)),
    "ipv6": Format(_ipv6, _ipv6_of, lambda text: "%" not in text and _is_read(IPv6Address, text)),
    "uuid": Format(
        _uuid, lambda random, length: _uuid(random), _matches("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    ),
    "uri": Format(_uri, _uri_of, _is_uri),
    "iri": Format(_uri, _uri_of, lambda text: ":" in text),
    "uri-reference": Format(_uri, _uri_of, lambda text: " " not in text),
    "idn-email": Format(_email, _email_of, lambda text: "@" in text),
}
"""The supported formats; any string conforms to others."""
