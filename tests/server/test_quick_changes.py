"""Changes that are compiled without a trial, and those that need one."""

import pytest

from fastmock.server.reload import RELOAD, Change, _is_quick
from tests.support import wait_until

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


@integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_change_that_only_compiling_refuses_is_refused_by_workers_and_without_them(serve, runtime):
    server = serve({}, "--runtime", runtime, "--workers", "1")
    wrong = {"match": {"endpoint": "chat_completion"}, "content": "y"}  # is checked when the rules are compiled
    status, body = server.control("PUT", "rules/wrong", wrong)
    assert (status, body["error"]["code"]) == (400, "invalid_configuration")
    assert "did you mean 'chat_completions'" in body["error"]["message"]
    assert server.control("PUT", "rules/right", RULE)[0] == 200
    assert not any("defect" in line or "Traceback" in line for line in server.errors)


class Fake:
    """A worker that never responds."""

    channel = None
    responds = False


@unit
def test_change_without_any_worker_that_responds_is_tried():
    from fastmock.build import Layers
    from fastmock.config.overlay import Overlay
    from fastmock.server.reload import Changes, State

    class Compiler:
        manager = None

        def __init__(self):
            self.layers = Layers({}, {}, {})

        def relaid(self, overlay, config):
            return self.layers.relaid(overlay, config)

        def refused(self, new, old):
            return []

        def compile(self, config, previous, warns):
            return self.layers.compile(config, previous, warns)

    compiler = Compiler()
    app = compiler.layers.load()
    in_force, answers = [], []
    changes = Changes(
        State(app.config, Overlay(), app), compiler, [Fake()], lambda *given: in_force.append(given), lambda: None
    )
    wrong = {"match": {"endpoint": "chat_completion"}, "content": "y"}
    for rule in (wrong, RULE):
        changes.submit(Change("adding", ([rule], ""), lambda status, body: answers.append(status)))
        assert wait_until(lambda: changes.advance() or not changes.due, 30)
    assert answers == [400, 200]
    assert len(in_force) == 1
    assert changes.state.app.rules == 1
    changes.refuse_all("the test has ended")
