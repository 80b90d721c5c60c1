"""The environment in which clients of the official SDKs call a fastmock server."""

from collections.abc import Mapping

API_KEY = "sk-fastmock"
"""The API key of clients without a session."""

_LOCAL = "127.0.0.1"
_NO_PROXY = ("NO_PROXY", "no_proxy")

_OPENAI_URLS = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
"""Base URLs with ``/v1``: for the SDKs of OpenAI, LiteLLM, LangChain and the AI SDK; the second for openai 0.x too."""
_OPENAI_KEYS = ("OPENAI_API_KEY",)
_ANTHROPIC_URLS = ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE")
"""Base URLs without ``/v1``: for Anthropic's SDKs and Claude Code; the second for LiteLLM."""
_ANTHROPIC_KEYS = ("ANTHROPIC_API_KEY",)
_UPSTREAMS = (
    ("openai", _OPENAI_URLS[0], _OPENAI_KEYS[0]),
    ("anthropic", _ANTHROPIC_URLS[0], _ANTHROPIC_KEYS[0]),
)
"""The variables of the URL and of the key of each provider."""
REMOVED = ("ANTHROPIC_AUTH_TOKEN",)
"""Variables that would make a client send another key."""


def base_url(url: str) -> str:
    """Return the URL of a server without a path, given with or without ``/v1``."""
    return url.rstrip("/").removesuffix("/v1")


def client_environment(url: str, environ: Mapping[str, str], api_key: str = API_KEY) -> dict[str, str]:
    """Return the variables to set for the clients of a server.

    Args:
        url: the URL of the server, without a path.
        environ: the present environment, whose list of hosts without a proxy is kept.
        api_key: the API key that clients shall send.
    """
    found = dict.fromkeys(_OPENAI_URLS, f"{url}/v1") | dict.fromkeys(_OPENAI_KEYS, api_key)
    found |= dict.fromkeys(_ANTHROPIC_URLS, url) | dict.fromkeys(_ANTHROPIC_KEYS, api_key)
    found["FASTMOCK_URL"] = url
    for name in _NO_PROXY:
        hosts = [host.strip() for host in environ.get(name, "").split(",") if host.strip()]
        found[name] = ",".join(hosts if _LOCAL in hosts else (*hosts, _LOCAL))
    return found


def record_options(to: str, environ: Mapping[str, str]) -> list[str]:
    """Return the command ``record`` with options for the upstreams that an environment names, with the keys in it.

    Args:
        to: the cassette or the directory to write to.
        environ: the environment in which the clients would call the upstreams themselves.
    """
    options = ["record", "--to", to]
    for provider, url, key in _UPSTREAMS:
        if environ.get(url):
            options += [f"--upstream-{provider}", base_url(environ[url])]
        if environ.get(key):
            options += [f"--upstream-{provider}-key-env", key]
    return options


if __name__ == "__main__":  # for scripts: print them for the server at the URL that is given
    import sys

    for variable, value in client_environment(sys.argv[1], {}).items():
        sys.stdout.write(f"{variable}={value}\n")
