"""The providers whose APIs are served, one folder each."""

from fastmock.core.provider import Providers
from fastmock.providers.anthropic.provider import ANTHROPIC
from fastmock.providers.openai.provider import OPENAI

PROVIDERS = Providers((OPENAI, ANTHROPIC))
"""The built-in providers; ``server.providers`` adds others."""
