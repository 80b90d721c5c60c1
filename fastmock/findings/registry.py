"""All kinds of findings."""

from fastmock.findings import conversations, retries, traffic
from fastmock.findings.finding import Kind

KINDS = (
    Kind(
        "retried_too_early",
        retries.retried_too_early,
        "Wait for as long as 'retry-after-ms' or 'retry-after' says before the next attempt.",
    ),
    Kind(
        "retried_fatal_error",
        retries.retried_fatal_error,
        "Retry 408, 409, 429 and errors from 500 alone, unless 'x-should-retry' says otherwise.",
    ),
    Kind(
        "retry_storm",
        retries.retry_storm,
        "Limit the number of attempts, and double the pause between them, with jitter.",
    ),
    Kind(
        "gave_up",
        retries.gave_up,
        "Retry such an error at least once; the official SDKs do so twice.",
    ),
    Kind(
        "ignored_limit",
        retries.ignored_limit,
        "Read the rate limit headers of each response, and hold requests back until the limit is reset.",
    ),
    Kind(
        "used_truncated_stream",
        conversations.used_truncated_stream,
        "Use a streamed answer only after its last event; else ask again.",
    ),
    Kind(
        "ignored_length",
        conversations.ignored_length,
        "Check the finish reason: raise the maximum of tokens, or have the model continue the answer.",
    ),
    Kind(
        "unknown_tool_call",
        conversations.unknown_tool_call,
        "Send the assistant's message with its tool calls before their results, and copy the ids.",
    ),
    Kind(
        "unanswered_tool_call",
        conversations.unanswered_tool_call,
        "Send a result for each tool call of an answer, an error if the tool failed.",
    ),
    Kind(
        "hung_up",
        traffic.hung_up,
        "Read streams to their end; a provider bills the tokens that are not read, too.",
    ),
    Kind(
        "no_connection_reuse",
        traffic.no_connection_reuse,
        "Create the client once and share it: it keeps connections open.",
    ),
    Kind(
        "concurrent_duplicates",
        traffic.concurrent_duplicates,
        "Cache answers, or let equal requests wait for the first one.",
    ),
    Kind(
        "repeated_success",
        traffic.repeated_success,
        "Cache the answer if one is enough.",
    ),
)
"""The kinds, in the order of the documentation."""
