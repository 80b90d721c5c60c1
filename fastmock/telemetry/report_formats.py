"""The report as JSON, text, Markdown and JUnit XML."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import orjson

from fastmock.findings.finding import Finding
from fastmock.telemetry.report import Miss, Report

_MOST_NAMED = 20  # unused rules that are named in text

_NOT_IN_XML = r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]"


def as_text(report: Report) -> str:
    """Return the report as lines of text."""
    return "\n".join((f"fastmock: {_counts(report)}", *(f"  {line}" for line in _lines(report)))) + "\n"


def _counts(report: Report) -> str:
    recorder, total = report.recorder, report.matched + report.unmatched
    forwarded = 0 if recorder is None else recorder.forwarded
    requests = "1 request" if total + forwarded == 1 else f"{total + forwarded} requests"
    noun = "rules" if report.cassettes is None else "rules and recordings"
    parts = [f"{noun} answered {report.matched}, no rule matched {report.unmatched}"] * (recorder is None or total > 0)
    if recorder is not None:
        parts.append(f"forwarded {recorder.forwarded}, recorded {recorder.recorded} to {recorder.to}")
    return f"{requests}: {', '.join(parts)}"


def _lines(report: Report) -> Iterator[str]:
    for miss in report.misses:
        yield f"no rule matched{_times(miss)}: {_request(miss)}"
        if miss.nearest is not None:
            yield f"  nearest {_kind(miss)} {miss.nearest!r}: {'; '.join(miss.differences)}"
    for one in report.findings or ():
        yield f"{one.severity}: {one.kind}{_times(one)}, client {one.client}: {one.message}"
        yield f"  {one.advice} ({_numbers(one)})"
    if report.unmatched and not report.journal:
        yield "turn the journal on ('journal.enabled') to see the requests that no rule matched"
    if report.unused and report.matched + report.unmatched:
        names = [repr(rule.name) for rule in report.unused]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield f"rules never used: {', '.join(names[:_MOST_NAMED])}{more}"
    yield from _lines_of_cassettes(report)


def _lines_of_cassettes(report: Report) -> Iterator[str]:
    """Yield the lines about cassettes."""
    if (use := report.cassettes) is None:
        return
    yield f"recordings replayed: {use.replayed} of {use.recordings}"
    for one in use.drift:
        yield f"drift: {one.recording} was replayed to a request that differs in {', '.join(one.components)}"
    if report.unused_recordings:
        shown = [one.recording for one in use.unused[:_MOST_NAMED]]
        more = use.recordings - use.replayed - len(shown)
        yield f"recordings never used: {', '.join(shown)}{f' and {more} more' if more > 0 else ''}"


def _kind(miss: Miss) -> str:
    """Return whether the nearest match is a rule or a recording, which is named by its file and line."""
    return "recording" if ".jsonl:" in (miss.nearest or "") else "rule"


def _times(one: Miss | Finding) -> str:
    return f" ({one.count} times)" if one.count > 1 else ""


def _numbers(finding: Finding) -> str:
    """Name the requests of a finding."""
    noun = "request" if len(finding.requests) == 1 else "requests"
    return f"{noun} {', '.join(map(str, finding.requests))}"


def _request(miss: Miss) -> str:
    return f"{miss.endpoint}, model {miss.model!r}, message {miss.message!r}"


def as_markdown(report: Report) -> str:
    """Return the report as Markdown, for the summary of a CI job."""
    lines = ["### fastmock", "", f"{_counts(report)}.", ""]
    if report.misses:
        lines += ["| no rule matched | model | message | nearest rule |", "|---|---|---|---|"]
        for miss in report.misses:
            nearest = "" if miss.nearest is None else f"`{miss.nearest}`: {'; '.join(miss.differences)}"
            cells = (f"{miss.endpoint}{_times(miss)}", miss.model, miss.message, nearest)
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
        lines.append("")
    if report.findings:
        lines += ["| finding | client | seen | what to do |", "|---|---|---|---|"]
        for one in report.findings:
            cells = (f"{one.severity}: {one.kind}{_times(one)}", one.client, one.message, one.advice)
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
        lines.append("")
    if report.rules:
        lines += ["| rule | endpoint | requests |", "|---|---|---|"]
        lines += [
            f"| {_cell(rule.name)} | {rule.endpoint} | {rule.hits or '**never used**'} |" for rule in report.rules
        ]
        lines.append("")
    if lines_of_cassettes := [f"- {_cell(line)}" for line in _lines_of_cassettes(report)]:
        lines += [*lines_of_cassettes, ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def as_junit(report: Report) -> str:
    """Return the report as JUnit XML: a rule is a test case, skipped if it was never used; a request that no rule
    matched and a finding are failed ones.
    """
    from xml.etree.ElementTree import Element, SubElement, indent, tostring  # few servers are asked for it

    use = report.cassettes
    replayed, unused = (0, ()) if use is None else (use.replayed, use.unused)
    failures, skipped = len(report.misses) + len(report.failures), len(report.unused) + len(unused)
    cases = len(report.rules) + failures + len(unused) + (use is not None)
    counts = {"tests": str(cases), "failures": str(failures), "skipped": str(skipped)}
    root = Element("testsuites", {"name": "fastmock", **counts, "errors": "0"})
    suite = SubElement(root, "testsuite", {"name": "fastmock", **counts, "errors": "0"})
    for rule in report.rules:
        case = SubElement(suite, "testcase", {"classname": f"fastmock.{rule.endpoint}", "name": _clean(rule.name)})
        if not rule.hits:
            SubElement(case, "skipped", {"message": "the rule was never used"})
    if use is not None:
        name = f"{replayed} of {use.recordings} recordings were replayed"
        SubElement(suite, "testcase", {"classname": "fastmock.cassettes", "name": name})
    for recording in unused:
        case = SubElement(suite, "testcase", {"classname": "fastmock.cassettes", "name": _clean(recording.recording)})
        SubElement(case, "skipped", {"message": "the recording was never used"})
    for miss in report.misses:
        name = _clean(f"model {miss.model!r}, message {miss.message!r}")
        case = SubElement(suite, "testcase", {"classname": f"fastmock.{miss.endpoint}", "name": name})
        failure = SubElement(case, "failure", {"message": f"no rule matched{_times(miss)}", "type": "no_rule_matched"})
        if miss.nearest is not None:
            failure.text = _clean(f"nearest {_kind(miss)} {miss.nearest!r}: {'; '.join(miss.differences)}")
    for one in report.failures:
        case = SubElement(suite, "testcase", {"classname": "fastmock.findings", "name": f"{one.kind}, {one.client}"})
        failure = SubElement(case, "failure", {"message": _clean(f"{one.message}{_times(one)}"), "type": one.kind})
        failure.text = f"{one.advice} ({_numbers(one)})"
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    """Return a text without the characters that XML cannot contain."""
    return re.sub(_NOT_IN_XML, "\N{REPLACEMENT CHARACTER}", text)


def as_json(report: Report) -> str:
    """Return the report as JSON."""
    return orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n"


class Format(NamedTuple):
    """A format of the report.

    Attributes:
        write: writes a report in it.
        content_type: its content type.
        suffix: the suffix of file names.
    """

    write: Callable[[Report], str]
    content_type: str
    suffix: str


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "json": Format(as_json, "application/json", ".json"),
        "text": Format(as_text, "text/plain; charset=utf-8", ".txt"),
        "markdown": Format(as_markdown, "text/markdown; charset=utf-8", ".md"),
        "junit": Format(as_junit, "application/xml", ".xml"),
    }
)
"""The formats by name."""


def format_of(file: str) -> Format:
    """Return the format for a file; raise ValueError if its suffix is unknown."""
    suffix = Path(file).suffix.lower()
    for form in FORMATS.values():
        if form.suffix == suffix:
            return form
    raise ValueError(f"must end with one of {', '.join(form.suffix for form in FORMATS.values())}")
