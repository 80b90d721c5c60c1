"""Decide whether a request is validated, and run the checks of its endpoint."""

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from typing import Literal

from fastmock.config.settings import Settings
from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.validation.check import Check, Contents

HEADER = "x-fastmock-validation"
"""The header by which a request chooses its mode where ``server.control_headers`` is on."""
CHECK_HEADER = "x-fastmock-check"
"""The header of a refusal that names the check."""

_MOST_SELECTIONS = 512  # combinations of parameters and parts whose checks are remembered

_Mode = Literal["provider", "lenient"]
_MODES: Mapping[str, _Mode] = {"provider": "provider", "lenient": "lenient"}


class Validator:
    """Refuses requests for one endpoint as the provider does.

    The mode of a request is set by the last of these that sets one: server, endpoint, model, header.
    """

    def __init__(self, settings: Settings, endpoint: str, checks: Iterable[Check]) -> None:
        """Prepare the checks of an endpoint.

        Args:
            settings: set the default mode.
            endpoint: the kind of endpoint.
            checks: all checks; those for other endpoints are left out.
        """
        self._checks = tuple(check for check in checks if endpoint in check.endpoints)
        own: _Mode | None = getattr(settings.responses, endpoint).validation
        self._params = frozenset(name for check in self._checks for name in check.params)
        self._parts = frozenset(kind for check in self._checks for kind in check.parts)
        self._selected: dict[tuple[frozenset[str], frozenset[str]], tuple[Check, ...]] = {}
        self._mode = own or settings.validation
        self.has_header = settings.server.control_headers
        entries = settings.per_model if any(entry.validation for entry in settings.per_model) else []
        self._models = [(re.compile(translate(entry.model)).match, entry.validation) for entry in entries]
        self._varies = self.has_header or bool(self._models)

    def check(self, chat: ChatRequest, contents: Contents | None) -> None:
        """Check a parsed request; raise the provider's error if it is invalid.

        ``contents`` are the contents that the checks look at; None without any.
        """
        mode = self._mode_of(chat) if self._varies else self._mode
        if mode == "provider" and contents is not None:
            self._run(contents)

    def _mode_of(self, chat: ChatRequest) -> _Mode:
        """Return the mode of one request."""
        if self.has_header and chat.request is not None and (said := chat.request.headers.get(HEADER)) is not None:
            if said not in _MODES:
                raise errors.UnsupportedValue(HEADER, said, "'provider' and 'lenient'")
            return _MODES[said]
        own = next((mode for match, mode in self._models if match(chat.model)), None)
        return own or self._mode

    def _run(self, contents: Contents) -> None:
        key = self._params.intersection(contents.body), self._parts.intersection(contents.parts)
        selected = self._selected.get(key)
        if selected is None:
            selected = tuple(check for check in self._checks if check.applies(contents.body, contents.parts))
            if len(self._selected) >= _MOST_SELECTIONS:
                self._selected.clear()
            self._selected[key] = selected
        for check in selected:
            try:
                check.refuse(contents)
            except errors.ApiError as error:
                raise error.replace(check=check.name) from None
