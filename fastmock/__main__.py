"""``python -m fastmock`` is the ``fastmock`` command."""

import sys


def run() -> None:
    """Run the ``fastmock`` command."""
    if sys.argv[1:2] == ["health"]:  # without the imports of a server: it takes 0.05 s instead of 0.6
        from fastmock.cli import health

        sys.exit(health.main(sys.argv[2:]))
    from fastmock.server import signals

    signals.defer(forwards=sys.argv[1:2] == ["run"])  # before the imports, which take half a second
    from fastmock.cli import main

    main.run()


if __name__ == "__main__":
    run()
