"""Confirmations that one server awaits from all on the same store."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastmock.replication.log import ChangeLog

Answer = Callable[[Mapping[str, Any]], None]
"""Called with the part of a response about the servers that have confirmed, and those that have not in time."""


@dataclass
class _Pending:
    """Confirmations that are awaited.

    Attributes:
        id: identifies them.
        servers: the names of the servers that were alive.
        until: the time at which the waiting ends.
        then: called at the end.
    """

    id: str
    servers: Mapping[str, str]
    until: float
    then: Answer


class Confirmations:
    """The confirmations that are awaited.

    Attributes:
        pending: they, in the order in which they were asked for.
    """

    def __init__(self, log: ChangeLog) -> None:
        """Look for them in the store of ``log``."""
        self._log = log
        self.pending: list[_Pending] = []

    def wait_for(self, id_: str, servers: Mapping[str, str], seconds: float, then: Answer) -> None:
        """Wait for servers, given by their names, at most for so long."""
        self.pending.append(_Pending(id_, servers, time.monotonic() + seconds, then))

    def look(self) -> None:
        """End those that are complete, or late; raise the errors of the client."""
        for one in [*self.pending]:
            confirmed = self._log.confirmed(one.id)
            missing = sorted(name for server, name in one.servers.items() if server not in confirmed)
            if not missing or time.monotonic() >= one.until:
                self.pending.remove(one)
                one.then({"servers": {"confirmed": len(one.servers) - len(missing), "unconfirmed": missing}})
