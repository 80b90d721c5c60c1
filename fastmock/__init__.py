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
    """Serve from Python, as the ``fastmock`` command does, until a signal says to stop.

    Call it in the main thread of a process that has started no other threads, for it forks the workers.

    Args:
        config: a configuration file, or what would stand in it; None takes ``./config.json`` or ``./config.yaml`` when
            present.
        response_manager: an object that says the answers, or the name of its class as ``package.module:Class``.
        settings: settings by the names of the command's flags: ``host``, ``port``, ``workers``, ``seed``, …

    Returns:
        The exit code: 0 after a stop that was asked for, 1 where it could not listen or serve.

    Raises:
        fastmock.core.problems.ConfigError: with everything that is wrong with the configuration.
    """
    from fastmock.cli.serve import serve_from_python

    return serve_from_python(config, response_manager, settings)
