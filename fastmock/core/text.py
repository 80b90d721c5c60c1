"""Texts for people."""


def printable(text: str) -> str:
    """Return a text with escapes in place of what cannot be printed, such as line ends and codes of terminals."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
