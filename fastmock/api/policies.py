"""What is done to every answer before it is sent, whichever endpoint says it."""

from collections.abc import Callable

from fastmock.api import errors
from fastmock.api.faults import Answer, Faults, SayError
from fastmock.wire import Ask, Request

Endpoint = Callable[[Request, str], Answer]


class Policies:
    """Put around the saying of answers what is configured.

    Attributes:
        any: whether anything is.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.any = faults.any

    def put(self, ask: Ask, answer: Answer, rule: str = "", say: SayError = errors.in_stream) -> Answer:
        """Return what is sent instead of an answer, mostly itself; see ``Faults.strike``."""
        return self._faults.strike(ask, answer, rule, say)

    def around(self, endpoint: Endpoint, kind: str) -> Endpoint:
        """Return an endpoint that has no rules, with this put around it; ``kind`` is what a match calls it."""
        if not self.any:
            return endpoint

        def answered(request: Request, unique: str) -> Answer:
            answer = endpoint(request, unique)
            ask = Ask(unique, {}, answer.model)
            ask.endpoint = kind
            ask.request = request
            return self.put(ask, answer)

        return answered
