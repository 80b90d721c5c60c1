"""The control API, below ``/fastmock/``: inspect requests, and change rules and settings while the server runs.

For access control see ``control.access``. Changes are applied by the parent process, on all workers at once; the
response waits for that without blocking others.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from fastmock.app import Answer, App, Handler
from fastmock.config.overlay import RuntimeRule, found_in
from fastmock.config.sessions import SessionSettings
from fastmock.control.access import Access
from fastmock.control.dashboard import page
from fastmock.control.dashboard_events import Events
from fastmock.control.recorded import Recorded, json_of
from fastmock.control.redact import settings_shown, without_secrets
from fastmock.control.replies import HEADS, Change, after, later, reply
from fastmock.core import errors
from fastmock.core.errors import ApiError
from fastmock.core.http import Reply, Request
from fastmock.core.json import parse
from fastmock.telemetry.journal import Journal

PREFIX = "/fastmock/"

_RESETS = ("rules", "config", "journal", "counters")

_STOPPING = ApiError(503, "The server is stopping; the change may or may not have been applied.", None, "not_changed")

_LOG = logging.getLogger("fastmock")


class Server(Protocol):
    """The server: applies changes, and gives access to the active App.

    Attributes:
        stopping: whether the server is stopping.
        api_port: the port of the LLM API, if the control API has a port of its own.
        generated_token: the token generated at startup, used while ``admin.token`` is not set; None if no token is
            needed.
    """

    stopping: bool
    api_port: int | None
    generated_token: str | None

    def current(self) -> App:
        """Return the active App."""

    def change(self, how: str, *arguments: Any) -> Change:
        """Request a change; ``how`` is the name of a method of ``config.overlay.Overlay``."""

    def flush(self) -> Change | None:
        """Have the journal get the requests of all servers on the store; None without one."""

    def clear(self, wanted: Sequence[str], sessions: Sequence[str]) -> Change | None:
        """Clear the journal or the counters of some sessions, or of all if none is named; None if it is done."""


class Control:
    """The control API of one worker."""

    def __init__(self, server: Server, app: App, journal: Journal) -> None:
        """Control ``server``, whose active App is ``app``."""
        self._server = server
        self._app = app
        self._access = Access(lambda: app.config.settings.admin.token or server.generated_token)
        self._journal = journal
        recorded = Recorded(server, app, journal, self._access.session)
        self._routes: dict[str, dict[str, Handler]] = {
            "requests": {"GET": recorded.requests, "DELETE": recorded.clear},
            "verify": {"POST": recorded.verify},
            "report": {"GET": recorded.report},
            "rules": {
                "GET": self._rules,
                "POST": self._add_rules,
                "PUT": self._replace_rules,
                "DELETE": self._remove_rules,
            },
            "rules/": {"GET": self._rule, "PUT": self._put_rule, "DELETE": self._remove_rule},
            "faults": {"GET": self._faults, "POST": self._add_faults, "DELETE": self._remove_faults},
            "sessions": {"GET": self._sessions},
            "sessions/": {"GET": self._session, "PUT": self._configure_session, "DELETE": self._reset_session},
            "config": {"GET": self._config, "PUT": self._change_config},
            "reset": {"POST": self._reset},
            "events": {"GET": self._events},
        }

    def served(self, app: App) -> App:
        """Return an App that routes requests for the control API and for the dashboard to this object."""
        fallback, root = app.fallback, page(HEADS)

        def routed(request: Request) -> Answer:
            path = request.path
            if path.startswith(PREFIX):
                return self.handle(request)
            if path == "/" and request.method in ("GET", "HEAD"):
                return root(request)
            return fallback(request)

        return app.with_fallback(routed)

    def handle(self, request: Request) -> Answer:
        """Respond to any request below ``/fastmock/``."""
        try:
            limit = self._app.config.settings.server.max_body_bytes
            if len(request.body) > limit:
                raise errors.BodyTooLarge(limit)
            self._access.check(request)
            name = request.path[len(PREFIX) :].rstrip("/")
            place = name if name in self._routes else f"{name.partition('/')[0]}/"
            methods = self._routes.get(place)
            if methods is None:
                known = ", ".join(f"{PREFIX}{name}" for name in self._routes if not name.endswith("/"))
                raise ApiError(404, f"Unknown path {request.path}; known paths are {known}.", None, "unknown_url")
            handler = methods.get("GET" if request.method == "HEAD" else request.method)
            if handler is None:
                raise errors.MethodNotAllowed(request.method, request.path, ", ".join(sorted(methods)))
            return handler(request)
        except ApiError as error:
            return self._refuse(error, request)
        except Exception:
            _LOG.exception("%s %s failed; this is a defect of fastmock", request.method, request.path)
            return self._refuse(errors.InternalError(), request)

    def _refuse(self, error: ApiError, request: Request) -> Reply:
        refused = self._app.error_reply(error, request)
        refused.control = True
        return refused

    def _changed(
        self, how: str, *arguments: Any, then: Callable[[dict[str, Any]], Change | None] = lambda _: None
    ) -> Reply:
        """Request a change; ``then`` is called with the body of the response once it is applied, and may return a
        further change to wait for.
        """
        change = self._server.change(how, *arguments)
        further: list[tuple[dict[str, Any], Change]] = []

        def look() -> tuple[int, Any] | None:
            if further:
                return _with(*further[0])
            result = change.result()
            if result is None:
                return (_STOPPING.status, _STOPPING.envelope()) if self._server.stopping else None
            status, body = result
            if status == 200:
                added = {(rule.session, rule.id): rule for rule in self._server.current().config.added}
                names = map(tuple, body["rules"])
                body = {**body, "rules": [_shown(added[named]) for named in names if named in added]}
                if (next_ := then(body)) is not None:
                    further.append((body, next_))
                    return None
            return status, body

        return later(look)

    # Rules.

    def _rules(self, request: Request) -> Reply:
        session = self._access.session(request)
        rules = [rule for rule in self._app.config.added if not session or rule.session in ("", session)]
        return reply({"rules": [_shown(rule) for rule in rules]})

    def _rule(self, request: Request) -> Reply:
        found = found_in(self._app.config.added, _id(request), self._access.session(request))
        if found is None:
            raise ApiError(404, f"No rule has the id {_id(request)!r}.", "id", "not_found")
        return reply(_shown(found))

    def _add_rules(self, request: Request) -> Reply:
        return self._changed("adding", _several(json_of(request)), self._access.session(request))

    def _replace_rules(self, request: Request) -> Reply:
        return self._changed("replacing", _several(json_of(request)), self._access.session(request))

    def _put_rule(self, request: Request) -> Reply:
        return self._changed("putting", _id(request), json_of(request), self._access.session(request))

    def _remove_rules(self, request: Request) -> Reply:
        return self._changed("removing", None, self._access.session(request))

    def _remove_rule(self, request: Request) -> Reply:
        return self._changed("removing", _id(request), self._access.session(request))

    # Sessions.

    def _faults(self, request: Request) -> Reply:
        """List the added faults, by session; that of all is the empty one."""
        session = self._access.session(request)
        shown = {
            name: _settings_shown(one).get("faults", [])
            for name, one in self._app.config.sessions.items()
            if session in ("", name)
        }
        return reply({"faults": shown})

    def _add_faults(self, request: Request) -> Reply:
        return self._changed("adding_faults", _several(json_of(request), "faults"), self._access.session(request))

    def _remove_faults(self, request: Request) -> Reply:
        return self._changed("removing_faults", self._access.session(request))

    def _sessions(self, request: Request) -> Reply:
        """List the sessions that have settings."""
        shown = {name: _settings_shown(one) for name, one in self._app.config.sessions.items() if name}
        return reply({"sessions": shown})

    def _session(self, request: Request) -> Reply:
        found = self._app.config.sessions.get(_id(request))
        if found is None:
            raise ApiError(404, f"No session {_id(request)!r} has settings.", "session", "not_found")
        return reply(_settings_shown(found))

    def _configure_session(self, request: Request) -> Reply:
        return self._changed("configuring_session", _id(request), json_of(request))

    def _reset_session(self, request: Request) -> Reply:
        """Delete everything of a session: rules, settings, recorded requests, counts."""
        return self._reset_all([_id(request)], _RESETS)

    # Everything else.

    def _config(self, request: Request) -> Reply:
        return reply(settings_shown(self._app.config.settings))

    def _change_config(self, request: Request) -> Reply:
        return self._changed("patching", parse(request.body))

    def _reset(self, request: Request) -> Reply:
        """Reset rules, settings, journal and counters, or only those named in the body; of all, or of some sessions."""
        given = dict(parse(request.body)) if request.body else {}
        own = self._access.session(request)
        sessions = given.pop("sessions", [own] if own else [])
        if not isinstance(sessions, list) or not all(isinstance(one, str) and one for one in sessions):
            raise ApiError(400, "Invalid 'sessions': must be a list of names.", "sessions")
        wrong = [name for name, value in given.items() if name not in _RESETS or not isinstance(value, bool)]
        if wrong:
            known = ", ".join(_RESETS)
            raise ApiError(400, f"Invalid '{wrong[0]}': allowed are {known}, each true or false.", wrong[0])
        return self._reset_all(sessions, [name for name in _RESETS if given.get(name, not given)])

    def _reset_all(self, sessions: list[str], wanted: Sequence[str]) -> Reply:
        """Reset what is wanted of some sessions; if none is named, of the server."""

        cleared = [name for name in wanted if name in ("journal", "counters")]

        def rest(body: dict[str, Any]) -> Change | None:
            body["reset"] = list(wanted)
            return self._server.clear(cleared, sessions) if cleared else None

        layers = [name for name in wanted if name in ("rules", "config")]
        if layers:
            return self._changed("resetting", layers, sessions, then=rest)
        body: dict[str, Any] = {}
        return after(rest(body), lambda more: {**body, **more})

    def _events(self, request: Request) -> Answer:
        if request.method == "HEAD":
            return reply({})
        return Events(self._server, self._journal).stream(self._access.session(request))


def _with(body: dict[str, Any], change: Change) -> tuple[int, Any] | None:
    """Return the response once a change is done that belongs to it."""
    result = change.result()
    if result is None or result[0] != 200:
        return result
    return 200, {**body, **result[1]}


def _shown(rule: RuntimeRule) -> Any:
    return without_secrets(rule.shown())


def _several(given: Any, name: str = "rules") -> list[Any]:
    """Return rules given as an object, as a list, or as ``{"rules": […]}``; faults likewise."""
    if isinstance(given, Mapping) and isinstance(given.get(name), list):
        given = given[name]
    return given if isinstance(given, list) else [given]


def _id(request: Request) -> str:
    """Return the last part of a path such as ``/fastmock/rules/{id}``."""
    return request.path[len(PREFIX) :].partition("/")[2].rstrip("/")


def _settings_shown(settings: SessionSettings) -> Any:
    return without_secrets(settings.model_dump(mode="json", exclude_defaults=True, by_alias=True))
