"""Strict mode: a request that no rule matches is refused, instead of getting the default reply."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.core.provider import provider_of

_VALUES: Mapping[str, Literal[True, False, "allow_generated"]] = {
    "true": True,
    "false": False,
    "allow_generated": "allow_generated",
}


def _text_is_value(value: Any) -> Any:
    """Parse the values of an environment variable."""
    return _VALUES.get(value.strip().lower(), value) if isinstance(value, str) else value


Strictness = Annotated[Literal[True, False, "allow_generated"], BeforeValidator(_text_is_value)]
"""Whether a request must match a rule. ``allow_generated`` excepts a request that demands a tool call or JSON, which is
generated."""

STRICT_HEADER = "x-fastmock-strict"
STRICT = "Respond with 404 if no rule matches; `allow_generated` still generates required tool calls and JSON."
"""The description of the setting."""


class StrictMode:
    """Decides which requests must match a rule.

    Attributes:
        any: whether some must.
        examines_requests: whether that depends on the session or the headers of a request.
    """

    def __init__(
        self,
        default: Strictness,
        by_endpoint: Mapping[str, Strictness],
        by_session: Mapping[str, Strictness],
        takes_header: bool,
    ) -> None:
        """Take the settings; ``takes_header``: whether a request may set its own.

        The header has precedence over the session, and the session over the endpoint.
        """
        self._default, self._by_endpoint, self._by_session = default, by_endpoint, by_session
        self._takes_header = takes_header
        self.any = bool(default or takes_header or any(by_endpoint.values()) or any(by_session.values()))
        self.examines_requests = bool(takes_header or by_session)

    def of(self, chat: ChatRequest) -> Strictness:
        """Return whether a request must match a rule; raise ApiError if its header is invalid."""
        request = chat.request
        if request is not None and self._takes_header and (given := request.headers.get(STRICT_HEADER)) is not None:
            found = _VALUES.get(given.strip().lower())
            if found is None:
                expected = ", ".join(_VALUES)
                raise errors.ApiError(
                    400, f"Invalid '{STRICT_HEADER}': expected one of {expected}, but got '{given}'.", STRICT_HEADER
                )
            return found
        if request is not None and self._by_session:
            session = self._by_session.get(provider_of(request).session_of(request))
            if session is not None:
                return session
        return self._by_endpoint.get(chat.endpoint, self._default)
