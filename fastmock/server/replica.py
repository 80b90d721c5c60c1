"""Name the replica in each response, where requests may have control headers."""

import socket

from fastmock.app import Answer, App, Handler
from fastmock.config.settings import Server
from fastmock.core.http import Request

HEADER = "x-fastmock-replica"


def with_replica_name(app: App, settings: Server) -> App:
    """Return an App whose responses name this server, if control headers are on."""
    if not settings.control_headers:
        return app
    header = (HEADER, settings.replica or socket.gethostname())

    def decorate(handler: Handler) -> Handler:
        def named(request: Request) -> Answer:
            answer = handler(request)
            answer.more = (*answer.more, header)
            return answer

        return named

    return app.wrapped(decorate, decorate)
