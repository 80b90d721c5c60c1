"""Settings of generated text."""

from typing import Literal

from pydantic import Field

from fastmock.core.section import SettingsModel
from fastmock.latency.settings import NumberOrAmount


class Output(SettingsModel):
    """Generated text (`$output`) of replies without content of their own."""

    kind: Literal["lorem", "echo", "counter"] | None = Field(
        None,
        description="Kind of text: `lorem` is prose, `echo` the user's message, `counter` words in alphabetical order, "
        "which make a lost or reordered chunk visible. Each word of `lorem` and `counter` is one token.",
    )
    tokens: NumberOrAmount | None = Field(
        None,
        description=(
            "Number of tokens; by default 100, for a legacy completion 16, for `echo` the length of the message."
        ),
    )
    min_tokens: int | None = Field(
        None, ge=0, le=1_000_000, description="Minimum number of tokens; a request may set it too."
    )
