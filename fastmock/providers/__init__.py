"""The providers whose APIs are served: a folder each."""

from fastmock.core.provider import Providers
from fastmock.providers.anthropic.provider import ANTHROPIC
from fastmock.providers.openai.provider import OPENAI

PROVIDERS = Providers((OPENAI, ANTHROPIC))
"""The providers that are always served; ``server.providers`` adds others."""
