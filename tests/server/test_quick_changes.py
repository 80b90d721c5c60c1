"""Changes that are compiled without a trial, and those that need one."""

import pytest

from fastmock.server.reload import RELOAD, Change, _is_quick

unit, integration = pytest.mark.unit, pytest.mark.integration
RULE = {"match": {"content": "x"}, "content": "y"}


def change(how, *arguments):
    return Change(how, arguments, lambda status, body: None)


@unit
@pytest.mark.parametrize(
    "asked",
    [
        change("adding", [RULE], ""),
        change("putting", "id", RULE, "session"),
        change("adding_faults", [{"kind": "status", "status": 503}], "session"),
        change("configuring_session", "session", {"strict": True}),
        change("removing", None, "session"),
        change("resetting", ["rules", "config"], ["session"]),
    ],
)
def test_literal_rules_and_settings_of_sessions_are_quick(asked):
    assert _is_quick(asked)


@unit
@pytest.mark.parametrize(
    "asked",
    [
        change(RELOAD),
        change("patching", {"seed": 1}),
        change("resetting", ["rules", "config"], []),
        change("adding", [{"match": {"any": [{"content_regex": "(a+)+$"}]}, "content": "y"}], ""),
        change("putting", "id", {"match": {}, "response_file": "x.json"}, ""),
        change("configuring_session", "s", {"latency": {"ttft": {"distribution": "empirical", "file": "x"}}}),
        change("adding", [RULE | {"content": "y" * 70_000}], ""),
        change("adding", [RULE] * 3000, ""),
    ],
)
def test_patterns_files_and_large_changes_need_a_trial(asked):
    assert not _is_quick(asked)


@integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_quick_and_tried_changes_follow_each_other(serve, runtime):
    server = serve({}, "--runtime", runtime, "--workers", "2")
    for number in range(3):
        assert server.control("PUT", f"rules/literal-{number}", RULE)[0] == 200
        pattern = {"match": {"content_regex": f"x{number}"}, "content": "y"}
        assert server.control("PUT", f"rules/pattern-{number}", pattern)[0] == 200
        for wrong in ({"match": {"modle": "x"}, "content": "y"}, {"match": {"content_regex": "("}, "content": "y"}):
            status, body = server.control("PUT", "rules/wrong", wrong)
            assert (status, body["error"]["code"]) == (400, "invalid_configuration")
        assert server.control("DELETE", "rules/missing")[0] == 404
    names = [rule["id"] for rule in server.control("GET", "rules")[1]["rules"]]
    assert sorted(names) == sorted(f"{kind}-{number}" for kind in ("literal", "pattern") for number in range(3))
    assert not any("defect" in line or "Traceback" in line for line in server.errors)
