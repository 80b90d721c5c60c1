"""What is done to every answer before it is sent, whichever endpoint says it."""

from collections.abc import Callable

from fastmock.api import errors
from fastmock.api.faults import Answer, Faults, SayError
from fastmock.api.limits import RateLimits
from fastmock.config.limits import Overload
from fastmock.limits.overload import wait
from fastmock.state.gate import Gate
from fastmock.wire import Ask, Reply, Request

Endpoint = Callable[[Request, str], Answer]

_UNLIMITED = ("models", "other")  # the endpoints that no limit counts


class Policies:
    """Put around the saying of answers what is configured.

    Attributes:
        any: whether anything is.
    """

    def __init__(self, limits: RateLimits, faults: Faults, overload: Overload, gate: Gate) -> None:
        self._limits = limits
        self._faults = faults
        self._overload = overload
        self._gate = gate
        self.any = limits.any or faults.any or overload.max_concurrent is not None

    def put(self, ask: Ask, answer: Answer, rule: str = "", say: SayError = errors.in_stream) -> Answer:
        """Return what is sent instead of an answer, mostly itself; see ``Faults.strike``."""
        if self._limits.any and ask.endpoint not in _UNLIMITED:
            answer.more += self._limits.take(ask)
        limits = answer.more
        try:
            if self._faults.any:
                answer = self._faults.strike(ask, answer, rule, say)
            if self._overload.max_concurrent is not None and answer.dues is not None:
                self._queue(answer, self._overload.max_concurrent)
        except errors.ApiError as error:
            if limits:
                raise error.but(headers=(*error.headers, *limits)) from None
            raise
        return answer

    def _queue(self, answer: Answer, most: int) -> None:
        """Have an answer that takes time wait its turn."""
        ticket = self._gate.enter(most, self._overload.max_queue)
        if ticket is None:
            raise errors.overloaded() if self._overload.status == 503 else errors.too_many_at_a_time(most)
        wait(answer, ticket, most)

    def around(self, endpoint: Endpoint, kind: str) -> Endpoint:
        """Return an endpoint that has no rules, with this put around it; ``kind`` is what a match calls it."""
        if not self.any:
            return endpoint

        def answered(request: Request, unique: str) -> Answer:
            answer = endpoint(request, unique)
            ask = Ask(unique, {}, answer.model)
            ask.endpoint = kind
            ask.prompt_tokens = answer.prompt_tokens if isinstance(answer, Reply) else 0
            ask.request = request
            return self.put(ask, answer)

        return answered
