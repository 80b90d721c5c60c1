"""``fastmock cassettes`` and ``fastmock rules-from``: look at cassettes, change them, and write rules from them."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import orjson

from fastmock.cassettes import tools
from fastmock.cassettes.cassette import CassetteError
from fastmock.cassettes.importers import ImportFailedError, import_files
from fastmock.core.text import printable

DIFFERENT = 1
"""The exit code of ``check`` if something is wrong, and of ``diff`` if there are differences."""

Command = Callable[..., argparse.ArgumentParser]


def add_parsers(command: Command) -> None:
    """Add the parsers of the commands; ``command`` adds one."""
    cassettes = command("cassettes COMMAND ...", "List, show, check, prune, compare and import cassettes.")
    commands = cassettes.add_subparsers(dest="action", metavar="COMMAND", required=True, prog="fastmock cassettes")

    def action(name: str, help_: str, *places: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help_, description=help_, allow_abbrev=False)
        for place in places:
            made.add_argument(place.lower(), metavar=place, nargs="+" if place == "PLACE" else None, type=Path)
        return made

    action("list", "List recordings.", "PLACE")
    show = action("show", "Show a recording: its request, and its answer with the times.")
    show.add_argument("name", metavar="FILE:LINE", help="name of the recording")
    check = action("check", "Find damaged lines, secrets, and edited requests.", "PLACE")
    check.add_argument("--rehash", action="store_true", help="hash edited requests again")
    prune = action("prune", "Remove recordings.", "PLACE")
    prune.add_argument("--unused", metavar="REPORT", type=Path, help="those never used, by a report in JSON")
    prune.add_argument("--damaged", action="store_true", help="damaged and torn lines")
    prune.add_argument("--duplicates", action="store_true", help="repetitions of a request with the same answer")
    action("diff", "Compare two cassettes; exit with 1 if they differ.", "BEFORE", "AFTER")
    import_ = action("import", "Import cassettes of vcrpy, and stored completions.", "PLACE")
    import_.add_argument("--to", metavar="FILE", type=Path, required=True, help="cassette to write, .jsonl")
    rules = command(
        "rules-from [OPTIONS] PLACE...", "Write a configuration with rules from cassettes, or from fixtures of aimock."
    )
    rules.add_argument("place", metavar="PLACE", nargs="+", type=Path)
    rules.add_argument("--to", metavar="FILE", type=Path, help="file to write, YAML (standard output)")


def run_cassettes(arguments: dict[str, Any], stdout: TextIO, stderr: TextIO) -> int:
    """Run ``fastmock cassettes``; return the exit code."""
    action = arguments.pop("action")
    try:
        if arguments.pop("rehash", False):
            for line in tools.pruned(arguments["place"], tools.Pruning((), False, False, True)):
                print(printable(line), file=stdout)
        lines = _ACTIONS[action](**arguments)
        count = 0
        for line in lines:
            count += 1
            print(printable(line), file=stdout)
        if not count:
            print(f"fastmock: {_NOTHING[action]}", file=stderr)
    except BrokenPipeError:  # the reader of the output has closed it
        raise
    except (CassetteError, ImportFailedError, OSError, ValueError) as error:
        print(f"fastmock: {_reason(error)}", file=stderr)
        return 2
    return DIFFERENT if count and action in ("check", "diff") else 0


def run_rules_from(place: Sequence[Path], to: Path | None, stdout: TextIO, stderr: TextIO) -> int:
    """Run ``fastmock rules-from``; return the exit code."""
    from fastmock.cassettes.importers.aimock import is_fixtures, rules_of_fixtures
    from fastmock.cassettes.rules_from import rules_from

    try:
        fixtures = [one for one in place if is_fixtures(one)]
        if fixtures and len(fixtures) < len(place):
            raise CassetteError("fixtures and cassettes cannot be mixed")
        if fixtures:
            found = rules_of_fixtures(fixtures)
        else:
            entries = [*tools.entries_of(place)]
            found = rules_from((one.name, one.recording) for one in entries if one.recording is not None)
            found.left_out.extend(f"{one.name}: {one.reason}" for one in entries if one.recording is None)
        if not found.config:
            raise CassetteError("; ".join(("there is nothing to make rules of", *found.left_out)))
        if to is None:
            print(found.as_yaml(), end="", file=stdout)
        else:
            with to.open("x") as file:  # never overwrites rules that were edited
                file.write(found.as_yaml())
            print(f"fastmock: rules written to {to}", file=stderr)
            for line in found.left_out:
                print(f"not carried over: {printable(line)}", file=stderr)
    except (CassetteError, ImportFailedError, OSError, ValueError) as error:
        print(f"fastmock: {_reason(error)}", file=stderr)
        return 2
    return 0


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _list(place: Sequence[Path]) -> Iterator[str]:
    return tools.listed(tools.entries_of(place))


def _show(name: str) -> Iterator[str]:
    file, _, number = name.rpartition(":")
    path = Path(file) if number.isdigit() and file else Path(name)
    found = [one for one in tools.entries_of([path]) if path == Path(name) or one.line.number == int(number)]
    if not found:
        raise CassetteError(f"{path} has no line {number}")
    for place, entry in enumerate(found):
        if place:
            yield "-" * 80
        yield from tools.shown(entry)


def _check(place: Sequence[Path]) -> Iterator[str]:
    return tools.checked(tools.entries_of(place))


def _prune(place: Sequence[Path], unused: Path | None, damaged: bool, duplicates: bool) -> Iterator[str]:
    if unused is None and not damaged and not duplicates:
        raise CassetteError("prune needs --unused, --damaged or --duplicates")
    digests = frozenset[str]() if unused is None else _unused_in(unused)
    found = yield from tools.pruned(place, tools.Pruning(digests, damaged, duplicates, False))
    if missing := len(digests) - len(found):
        yield f"{missing} of the {len(digests)} unused recordings in {unused} are not there, or were changed"


def _unused_in(file: Path) -> frozenset[str]:
    """Return the digests of the unused recordings that a report names."""
    try:
        return frozenset(str(one["digest"]) for one in orjson.loads(file.read_bytes())["cassettes"]["unused"])
    except (KeyError, TypeError, ValueError):
        raise CassetteError(f"{file} is not a report in JSON of a server with cassettes") from None


def _diff(before: Path, after: Path) -> Iterator[str]:
    return tools.compared(tools.entries_of([before]), tools.entries_of([after]))


_NOTHING = {
    "list": "there are no recordings",
    "show": "there are no recordings",
    "check": "no damage, no secrets and no edits found",
    "prune": "nothing to remove",
    "diff": "no differences",
}


def _import(place: Sequence[Path], to: Path) -> Iterator[str]:
    return import_files(place, to)


_ACTIONS: dict[str, Callable[..., Iterator[str]]] = {
    "list": _list,
    "show": _show,
    "check": _check,
    "prune": _prune,
    "diff": _diff,
    "import": _import,
}
