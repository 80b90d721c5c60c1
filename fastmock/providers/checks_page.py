"""The page on validation, written from the table of checks."""

from fastmock.providers.anthropic.checks_table import CHECKS as ANTHROPICS
from fastmock.providers.openai.checks_table import CHECKS as OPENAIS
from fastmock.validation.check import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Check

_TOP = """# Validation

Written from the tables of checks, `checks_table.py` in each folder of `fastmock/providers/`, by
`python -m fastmock.providers`; a test holds it current.

The providers refuse requests that have the right types and are still wrong: a call without its result, an empty text,
a parameter that the model does not take. So does fastmock, with the provider's status, words, `param` and `code`.
Unknown parameters are accepted.

```yaml
validation: provider               # the default; `lenient` checks types and required fields alone
responses:
  messages: {validation: lenient}  # also chat_completions, completions and responses
per_model: [{model: "llama-*", validation: lenient}]
```

The more specific level wins: an endpoint over the server, a model over the endpoint, and over all of them the header
`x-fastmock-validation` of a request, where `server.control_headers` is on. As for all settings by model, the first
entry of `per_model` that fits a model counts.

A refusal names its check in the header `x-fastmock-check`; the journal, the page, the request log and the metrics name
it too. `POST /v1/messages/count_tokens`, `POST /v1/responses/input_tokens` and `POST /v1/responses/compact` check as
well.

In the Responses API a call may be in an earlier response or a conversation, where it is looked up. Where the history is
not known, or the input has `item_reference` or `compaction` items, calls and outputs are not paired. A thinking block
has to have a signature. One that fastmock made is compared with the thinking, on any worker and version; one from
elsewhere is accepted.

The words are those that users of the providers report, or that the provider's reference has. Where a date is given, the
provider may have lifted the check since.
"""

_ENDPOINTS = {
    CHAT: "Chat completions",
    COMPLETIONS: "Completions",
    RESPONSES: "Responses",
    MESSAGES: "Anthropic's messages",
}


def markdown() -> str:
    """Return the whole page."""
    return "\n".join([_TOP, *(_section(endpoint, title) for endpoint, title in _ENDPOINTS.items())])


def _section(endpoint: str, title: str) -> str:
    rows = "\n".join(_row(check) for check in (*OPENAIS, *ANTHROPICS) if endpoint in check.endpoints)
    return f"## {title}\n\n| check | the provider's words | source | without it |\n|---|---|---|---|\n{rows}\n"


def _row(check: Check) -> str:
    source = f"{check.source} (as of {check.as_of})" if check.as_of else check.source
    return f"| `{check.name}` | {_cell(check.words)} | {source} | {check.cost} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
