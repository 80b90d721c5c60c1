"""Policies for the responses of all endpoints: limits, faults and the queue."""

from typing import Any

from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.core.http import Reply, Request, model_of
from fastmock.core.json import parse
from fastmock.core.routing import Endpoint
from fastmock.faults.injector import Answer, FaultInjector, WriteError
from fastmock.limits.concurrency import wait
from fastmock.limits.limiter import RateLimits
from fastmock.limits.settings import Overload
from fastmock.shared.queue import AdmissionQueue

_UNLIMITED = ("models", "other")  # endpoints without limits


def _body(request: Request) -> dict[str, Any]:
    """Return the request body; parsed a second time, since only policies need it again."""
    return parse(request.body) if request.method == "POST" and request.body else {}


class Policies:
    """Applies the configured policies to responses.

    Attributes:
        limits: the rate limits.
        any: whether any policy is configured; ``more_than_limits``: whether any besides limits.
        changes_answers: whether a configured fault changes answers; ``may_redo``: or one that a request asks for.
    """

    def __init__(self, limits: RateLimits, faults: FaultInjector, overload: Overload, gate: AdmissionQueue) -> None:
        self.limits = limits
        self._faults = faults
        self._overload = overload
        self._gate = gate
        self._counts, self._breaks, self._most = limits.any, faults.any, overload.max_concurrent
        self.more_than_limits = self._breaks or self._most is not None
        self.any = self._counts or self.more_than_limits
        self.changes_answers = faults.changes_answers
        self.may_redo = faults.changes_answers or faults.takes_headers

    def apply(self, chat: ChatRequest, answer: Answer, rule: str = "", write_error: WriteError | None = None) -> Answer:
        """Return the response to send, mostly ``answer`` itself; see ``FaultInjector.apply``."""
        faults = self._faults.possible(chat, answer, rule) if self._breaks else None
        shown = self.limits.take(chat, answer, faults) if self._counts and chat.endpoint not in _UNLIMITED else None
        try:
            if self._breaks:
                answer = self._faults.apply(chat, answer, faults, write_error)
            if self._most is not None and answer.due_times is not None:
                self._queue(answer, self._most)
        except errors.ApiError as error:
            headers = shown.of(answer.values) if shown else ()
            raise error.replace(headers=(*error.headers, *headers), model=chat.model, rule=rule) from None
        return answer

    def _queue(self, answer: Answer, most: int) -> None:
        """Queue a response that takes time."""
        ticket = self._gate.enter(most, self._overload.max_queue)
        if ticket is None:
            error = errors.Overloaded() if self._overload.status == 503 else errors.QueueFull(most)
            raise error.replace(limit="max_concurrent")
        wait(answer, ticket, most)

    def wrap(self, endpoint: Endpoint, kind: str, write_error: WriteError | None = None) -> Endpoint:
        """Return an endpoint without rules with the policies applied.

        ``kind`` is its kind as in rules; ``write_error`` writes an error as an event of a stream.
        """
        if not self.any:
            return endpoint

        def answered(request: Request, unique: str) -> Answer:
            answer = endpoint(request, unique)
            chat = ChatRequest(unique, _body(request), model_of(answer))
            chat.endpoint = kind
            chat.prompt_tokens = answer.prompt_tokens if isinstance(answer, Reply) else 0
            chat.request = request
            return self.apply(chat, answer, write_error=write_error)

        return answered
