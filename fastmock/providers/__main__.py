"""``python -m fastmock.providers``: print the page on validation."""

from fastmock.providers.checks_page import markdown

if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201
