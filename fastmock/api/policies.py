"""What is done to every answer before it is sent, whichever endpoint says it."""

from collections.abc import Callable

from fastmock.api import errors
from fastmock.api.faults import Answer, Faults, SayError
from fastmock.api.limits import RateLimits
from fastmock.wire import Ask, Reply, Request

Endpoint = Callable[[Request, str], Answer]

_UNLIMITED = ("models", "other")  # the endpoints that no limit counts


class Policies:
    """Put around the saying of answers what is configured.

    Attributes:
        any: whether anything is.
    """

    def __init__(self, limits: RateLimits, faults: Faults) -> None:
        self._limits = limits
        self._faults = faults
        self.any = limits.any or faults.any

    def put(self, ask: Ask, answer: Answer, rule: str = "", say: SayError = errors.in_stream) -> Answer:
        """Return what is sent instead of an answer, mostly itself; see ``Faults.strike``."""
        if not self._limits.any or ask.endpoint in _UNLIMITED:
            return self._faults.strike(ask, answer, rule, say)
        headers = self._limits.take(ask)
        answer.more += headers
        if not self._faults.any:
            return answer
        try:
            return self._faults.strike(ask, answer, rule, say)
        except errors.ApiError as error:
            raise error.but(headers=(*error.headers, *headers)) from None

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
