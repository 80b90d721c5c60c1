"""``python -m fastmock.api.validation``: print the page on validation."""

from fastmock.api.validation.page import markdown

if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201
