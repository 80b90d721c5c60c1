"""``python -m fastmock`` is the ``fastmock`` command."""

from fastmock.server import signals


def run() -> None:
    """Run the ``fastmock`` command."""
    signals.defer()  # before the imports, which take half a second
    from fastmock.cli import main

    main.run()


if __name__ == "__main__":
    run()
