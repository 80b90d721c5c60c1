"""Durations as text."""

SHORT = ["0s", *(f"{milliseconds}ms" for milliseconds in range(1, 1000))]
"""The durations below one second, by milliseconds."""


def duration(milliseconds: int) -> str:
    """Format a duration as Go and the APIs do: ``6m0s``, ``1.2s``, ``17ms``."""
    if milliseconds < 1000:
        return SHORT[milliseconds]
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text
