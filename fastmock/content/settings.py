"""Settings of generated text."""

from typing import Literal

from pydantic import Field

from fastmock.core.section import SettingsModel
from fastmock.latency.settings import NumberOrAmount


class Output(SettingsModel):
    """How much is said, and what, where nothing says it: `$output`."""

    kind: Literal["lorem", "echo", "counter"] | None = Field(
        None,
        description="`lorem`: prose; `echo`: the user's message; `counter`: words in alphabetical order, which make a "
        "lost or reordered chunk visible. Each word of `lorem` and `counter` is one token.",
    )
    tokens: NumberOrAmount | None = Field(
        None,
        description=(
            "Number of tokens; by default 100, for a legacy completion 16, for an echo as many as the message has."
        ),
    )
    min_tokens: int | None = Field(None, ge=0, le=1_000_000, description="The fewest; a request may say so too.")
