"""The session of one test of pytest: its settings, and the report on its requests."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fastmock.core.documents import DocumentError, read_document
from fastmock.core.problems import did_you_mean
from fastmock.testing.client import Client, RecordedRequest, new_session
from fastmock.testing.control import ControlError
from fastmock.testing.item_recording import ItemRecording, cassette_of, mode_of
from fastmock.testing.session_server import SessionServer

_MOST_ENDED = 50  # sessions that are removed together: removing one takes 5 to 10 ms
_SECTIONS = ("chat_completions", "completions", "embeddings", "moderations")
_RULES = ("rules", "patterns")
_ARGUMENTS = ("config", "strict", "findings", "cassette", "record")  # of the marker
_SETTINGS = ("latency", "limits", "faults", "cassettes")
_LAST = -1_000_000  # priority of a rule that stands for a default
_MOST_SHOWN = 20  # requests
_LONGEST = 100  # characters of a message that are shown
_LOG_LINES = 30


class ItemSession:
    """The session of a test.

    Attributes:
        client: the client of the test.
    """

    def __init__(self, server: SessionServer, item: pytest.Item) -> None:
        """Begin a session, with the settings of the test's marker.

        Raises:
            pytest.fail.Exception: the marker is invalid.
        """
        self._recording: ItemRecording | None = None
        self._has_passed = self._has_cassette = False
        marker = item.get_closest_marker("fastmock")
        given = {} if marker is None else dict(marker.kwargs)
        _check_arguments(item, given)
        mode = mode_of(item, given)
        given.pop("record", None)
        if given.get("cassette") is not None:
            self._has_cassette = True
            place = given["cassette"] = cassette_of(item, given["cassette"])
            self._recording = ItemRecording.start(item, place, mode)
            if self._recording is not None:
                server = self._recording.server
                del given["cassette"]
            elif not place.exists():
                pytest.fail(f"{place} does not exist; record it with --fastmock-record once", pytrace=False)
        self._server = server
        self.client = Client(server.url, session=new_session(item.name), token=server.token)
        self._is_strict = server.strict
        self._is_watched = False
        item._fastmock = self  # type: ignore[attr-defined]
        if item.config.getini("fastmock_strict") and not server.strict:  # a server that was running before
            given.setdefault("strict", True)
        if given:
            try:
                self._configure(item, **given)
            except (ControlError, DocumentError, TypeError, ValueError) as error:
                pytest.fail(f"the marker 'fastmock' of {item.nodeid} is invalid: {error}", pytrace=False)

    def _configure(
        self,
        item: pytest.Item,
        config: Mapping[str, Any] | str | None = None,
        strict: bool | None = None,
        findings: bool | None = None,
        cassette: Path | None = None,
    ) -> None:
        """Apply the settings of a marker; a file is relative to the test's directory, or to the root of the run."""
        given: Any = config or {}
        if isinstance(config, str):
            beside = item.path.parent / config
            given = read_document(beside if beside.exists() else Path(item.config.rootpath / config))
        rules, settings = _of_session(given)
        if strict is not None:
            settings["strict"] = strict
        if findings is not None:
            settings["findings"] = findings
        if cassette is not None:
            settings["cassettes"] = {**settings.get("cassettes", {}), "files": [str(cassette.resolve())]}
            self.client.lasting["cassettes"] = settings["cassettes"]
        self._is_strict = bool(settings.get("strict", self._is_strict))
        self._is_watched = bool(settings.get("findings", False))
        if rules:
            self.client.control.call("POST", "rules", rules)
        if settings:
            self.client.configure(**settings)

    def complete(self, report: pytest.TestReport) -> None:
        """Add the requests to the report of a failed test; let a strict one fail if no rule matched a request, and a
        watched one if there are findings.
        """
        self._has_passed = report.passed
        if not report.failed and not ((self._is_strict or self._is_watched) and report.passed):
            return
        try:
            found = self.client.report(self._server.next, final=True)
            misses, findings = found["misses"], found["findings"] if self._is_watched else []
            self._server.next = found["next"]
            wrong = list(_lines_of_findings(findings, failing=True))
            if self._is_strict and misses:
                wrong = ["no rule matched, in strict mode:", *_lines_of_misses(misses), *wrong]
            if report.passed and wrong:
                report.outcome, report.longrepr = "failed", "\n".join(wrong)
                self._has_passed = False
            if report.failed:
                lines = (*self._lines(misses), *_lines_of_findings(findings))
                report.sections.append(("fastmock", "\n".join(lines)))
        except ControlError as error:
            log = "\n".join(self._server.output().splitlines()[-_LOG_LINES:])
            report.sections.append(("fastmock", f"{error}\n{log}"))
            if report.passed:
                report.outcome, report.longrepr = "failed", f"fastmock: {error}\n{log}"

    def _lines(self, misses: list[Any]) -> Iterator[str]:
        """Yield the lines about the requests of the test."""
        requests = self.client.requests
        yield f"{len(requests)} {'request' if len(requests) == 1 else 'requests'} in session {self.client.session}"
        for request in requests[-_MOST_SHOWN:]:
            yield f"  {_line(request)}"
        yield from _lines_of_misses(misses)
        if self._recording is not None:
            yield "nothing was recorded, since the test failed"
        elif self._has_cassette and any(".jsonl:" in (miss["nearest"] or ".jsonl:") for miss in misses):
            yield "--fastmock-record new records what the cassette does not have"

    def end(self) -> None:
        """End the session; its rules and requests are removed together with those of others."""
        if self._recording is not None:
            self.client.control.close()
            self._recording.finish(self._has_passed)
            return
        self._server.ended.append(self.client.session)
        if len(self._server.ended) >= _MOST_ENDED:
            ended, self._server.ended = self._server.ended, []
            self.client.control.call("POST", "reset", {"sessions": ended})
        self.client.control.close()


def _check_arguments(item: pytest.Item, given: Mapping[str, Any]) -> None:
    """Fail if a marker has an argument that is unknown."""
    for name in given:
        if name not in _ARGUMENTS:
            known = did_you_mean(name, _ARGUMENTS) or f"; known are {', '.join(_ARGUMENTS)}"
            text = f"the marker 'fastmock' of {item.nodeid} is invalid: unknown argument {name!r}{known}"
            pytest.fail(text, pytrace=False)


def _line(request: RecordedRequest) -> str:
    """Describe a request."""
    text = next((str(one.get("content")) for one in reversed(request.messages) if isinstance(one, dict)), "")
    shown = f" {text[:_LONGEST]!r}" if text else ""
    fault = f", fault {request.fault}" if request.fault else ""
    return f"{request.method} {request.path} {request.model}{shown} -> {request.status}, rule {request.rule}{fault}"


def _lines_of_misses(misses: list[Any]) -> Iterator[str]:
    """Yield the lines about requests that no rule matched."""
    for miss in misses:
        times = f" ({miss['count']} times)" if miss["count"] > 1 else ""
        yield f"no rule matched{times}: {miss['endpoint']}, model {miss['model']!r}, message {miss['message']!r}"
        if miss["nearest"] is not None:
            yield f"  nearest rule {miss['nearest']}: {'; '.join(miss['differences'])}"


def _lines_of_findings(findings: list[Any], failing: bool = False) -> Iterator[str]:
    """Yield the lines about findings, with ``failing`` about those that make a test fail."""
    for one in findings:
        if not failing or one["severity"] != "info":
            times = f" ({one['count']} times)" if one["count"] > 1 else ""
            yield f"{one['severity']}: {one['kind']}{times}: {one['message']}"
            yield f"  {one['advice']}"


def _of_session(config: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rules and the settings of a session that stand for a configuration; raise ValueError if others are
    needed.
    """
    rules: list[dict[str, Any]] = []
    settings: dict[str, Any] = {}
    for name, value in config.items():
        if name in _SETTINGS:
            settings[name] = value
        elif name == "findings":
            settings[name] = bool(value.get("enabled"))
        elif name != "responses":
            raise ValueError(f"{name!r} cannot be set for a session: start the server with it, by --fastmock-config")
    for section, answers in (config.get("responses") or {}).items():
        if section == "strict":
            settings["strict"] = answers
        elif section not in _SECTIONS:
            raise ValueError(f"'responses.{section}' cannot be set for a session")
        else:
            rules += _rules_of(section, answers)
    return rules, settings


def _rules_of(section: str, answers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rules of a section, in the order in which they are added: the latest comes first."""
    for name, value in answers.items():
        if name in _RULES:
            yield from ({**rule, "endpoint": section} for rule in reversed(value))
        elif name == "default":
            reply = {"response_file": value} if isinstance(value, str) else value
            yield {
                "match": {},
                "priority": _LAST,
                "name": f"{section}.default of the test",
                **reply,
                "endpoint": section,
            }
        else:
            raise ValueError(f"'responses.{section}.{name}' cannot be set for a session")
