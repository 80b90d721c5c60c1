"""fastmock: a mock OpenAI API server on Rust runtimes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fastmock.responses import ResponseManager

from fastmock._version import __version__ as __version__


def serve(
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    response_manager: ResponseManager | str | None = None,
    **settings: Any,
) -> int:
    """Serve from Python, as the ``fastmock`` command does, until stopped by a signal.

    Call it in the main thread of a process without other threads, because it forks the workers.

    Args:
        config: a configuration file, or its contents as a mapping; None takes ``./config.json`` or ``./config.yaml`` if
            it exists.
        response_manager: an object that generates the responses, or the name of its class as ``package.module:Class``.
        settings: settings by the names of the command's flags: ``host``, ``port``, ``workers``, ``seed``, …

    Returns:
        The exit code: 0 after a requested stop, 1 if it could not listen or serve.

    Raises:
        fastmock.core.problems.ConfigError: with all errors in the configuration.
    """
    from fastmock.cli.serve import serve_from_python

    return serve_from_python(config, response_manager, settings)
