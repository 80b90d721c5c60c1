"""Simulate OpenAI's prompt caching: ``cached_tokens`` counts the common prefix with an earlier prompt."""

from hashlib import blake2b

from fastmock.core.completion import ChatRequest
from fastmock.core.json import as_json
from fastmock.shared.prompt_prefixes import PromptPrefixes

_BLOCK = 512  # bytes of the prompt that share one hash
_LEAST, _STEP = 1024, 128  # tokens: OpenAI caches no shorter prompts, and in multiples of this step
_PROMPT = ("tools", "functions", "messages", "prompt")  # in the order in which a model reads them


class PromptCache:
    """Counts the tokens of the longest prefix that a prompt shares with an earlier one for the same model, on any
    worker.
    """

    def __init__(self, prefixes: PromptPrefixes) -> None:
        self._prefixes = prefixes

    def __call__(self, chat: ChatRequest) -> None:
        """Set the request's ``cached_tokens``."""
        if chat.prompt_tokens < _LEAST:
            return
        parts = [as_json(chat.body[name], name)[:-1] for name in _PROMPT if name in chat.body]
        prompt = b"".join(parts)
        digest = blake2b(chat.model.encode(), digest_size=8)
        hashes = []
        for end in range(_BLOCK, len(prompt) + 1, _BLOCK):
            digest.update(prompt[end - _BLOCK : end])
            hashes.append(int.from_bytes(digest.digest(), "big"))
        known = self._prefixes.add(hashes) * _BLOCK
        # Bytes are converted to tokens by the prompt's own ratio: precise enough for steps of 128.
        tokens = chat.prompt_tokens * known // (len(prompt) or 1) // _STEP * _STEP
        if tokens >= _LEAST:
            chat.add_details().cached_tokens = tokens
