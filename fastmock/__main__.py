"""``python -m fastmock`` is the ``fastmock`` command."""

from fastmock.cli import run

if __name__ == "__main__":
    run()
