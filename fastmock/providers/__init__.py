"""The providers whose APIs are served: a folder each."""

from fastmock.core.http import Request
from fastmock.core.provider import Provider
from fastmock.providers.anthropic.provider import ANTHROPIC
from fastmock.providers.openai.provider import OPENAI

PROVIDERS: tuple[Provider, ...] = (OPENAI, ANTHROPIC)
"""All of them; the first answers requests that are known as no other's."""


def owner(path: str) -> Provider | None:
    """Return the provider that alone has a path; None where several do, or none."""
    path = path.removeprefix("/v1")
    return next((provider for provider in PROVIDERS if path.startswith(provider.paths)), None)


def find(request: Request) -> Provider:
    """Return the provider of a request: by its path, else by the header that the provider's clients send."""
    if (found := owner(request.path)) is not None:
        return found
    signed = (one for one in PROVIDERS if one.sign and request.headers.get(one.sign) is not None)
    return next(signed, PROVIDERS[0])
