"""The manifests against Kubernetes' schemas, and against what the service really does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from typer.main import get_command

from facewright.cli import app
from facewright.service.api.app import create_app
from facewright.service.settings import ENV_PREFIX, Settings
from facewright.service.telemetry.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
OVERLAYS = ("cpu", "gpu", "keda")
COMPONENTS = ("monitoring", "ingress", "own-model", "bulk")

VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest Kubernetes that has what the manifests use, and the newest with a schema here."""

CUSTOM = {"ServiceMonitor", "ScaledObject"}
"""Kinds that Kubernetes itself does not know, and whose schemas come with packages of npm."""

RAY_FIELDS = {
    "RayJob": {
        "entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
        "submissionMode", "submitterPodTemplate", "rayClusterSpec", "activeDeadlineSeconds",
    },
    "cluster": {"rayVersion", "headGroupSpec", "workerGroupSpecs"},
    "head": {"rayStartParams", "template", "serviceType"},
    "worker": {
        "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template",
    },
}  # fmt: skip
"""Fields of `ray.io/v1` in use here: no package has its schema."""

PHOTO_MEMORY = 800_000_000
"""Bytes that a photo of 50 megapixels takes in work, its texture among them (docs/api.md)."""

IDLE_MEMORY = 1_000_000_000
"""Bytes of a server with its models that has answered photos, rounded up (docs/deploy.md)."""

Manifest = dict[str, Any]
Build = Callable[..., list[Manifest]]


def load(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


def manifest_files() -> list[Path]:
    files = sorted(path for path in K8S.rglob("*.yaml") if path.name != "kustomization.yaml")
    assert files
    return files


def settings_of(variables: dict[str, str]) -> Settings:
    return Settings(**{k.removeprefix(ENV_PREFIX).lower(): v for k, v in variables.items()})  # type: ignore[arg-type]


def memory(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([MG]i)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1 << 20, "Gi": 1 << 30}[unit]


def ray_pods(job: Manifest) -> dict[str, Manifest]:
    """The pod templates of a RayJob; its own fields are held to those that KubeRay knows."""
    assert job["apiVersion"] == "ray.io/v1"
    spec = job["spec"]
    assert spec.keys() <= RAY_FIELDS["RayJob"]
    cluster = spec["rayClusterSpec"]
    assert cluster.keys() <= RAY_FIELDS["cluster"]
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head.keys() <= RAY_FIELDS["head"]
    assert worker.keys() <= RAY_FIELDS["worker"]
    for group in (head, worker):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    return {
        "submitter": spec["submitterPodTemplate"],
        "head": head["template"],
        "worker": worker["template"],
    }


def validate(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        if manifest["kind"] == "RayJob":
            validate(
                [
                    {
                        "apiVersion": "v1",
                        "kind": "PodTemplate",
                        "metadata": {"name": name},
                        "template": template,
                    }
                    for name, template in ray_pods(manifest).items()
                ]
            )
        elif manifest["kind"] not in CUSTOM:
            for version in VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)


def validate_custom(manifests: list[Manifest]) -> None:
    """Left out where node is not installed, but not in continuous integration."""
    models = ROOT / "tests" / "node_modules" / "@kubernetes-models"
    if shutil.which("node") is None or not models.is_dir():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs node and `npm ci` in tests/")
    script = ROOT / "tests" / "k8s" / "validate_custom_resources.mjs"
    custom = [manifest for manifest in manifests if manifest["kind"] in CUSTOM]
    assert custom
    run = subprocess.run(
        ["node", str(script)], input=json.dumps(custom), capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr


# --- schemas ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", manifest_files(), ids=lambda path: str(path.relative_to(K8S)))
def test_every_file_fits_the_schema(path: Path) -> None:
    validate(load(path))


def test_the_validator_would_object() -> None:
    manifest = load(K8S / "base" / "service.yaml")[0]
    manifest["spec"]["ports"][0]["prot"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        validate([manifest])


def test_custom_resources_fit_their_schemas() -> None:
    validate_custom([manifest for path in manifest_files() for manifest in load(path)])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_kustomize_builds_fits_the_schema(kustomize: Build, overlay: str) -> None:
    manifests = kustomize(overlay)
    validate(manifests)
    kinds = [manifest["kind"] for manifest in manifests]
    assert len(kinds) == len(set(kinds))
    # One autoscaler, never two.
    assert ("HorizontalPodAutoscaler" in kinds) != ("ScaledObject" in kinds)
    assert ("ScaledObject" in kinds) == (overlay == "keda")


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_kustomize_puts_every_component_on_an_overlay(kustomize: Build, overlay: str) -> None:
    manifests = kustomize(overlay, *COMPONENTS)
    validate(manifests)
    assert {"Ingress", "ServiceMonitor"} <= {manifest["kind"] for manifest in manifests}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_changed_settings_roll_the_pods(
    kustomize: Build, environment: Callable[..., dict[str, str]], overlay: str
) -> None:
    built = {manifest["kind"]: manifest for manifest in kustomize(overlay)}
    name = built["ConfigMap"]["metadata"]["name"]
    assert re.fullmatch(r"facewright-[a-z0-9]{10}", name)  # the hash of the content
    (container,) = built["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": name}}]
    assert built["ConfigMap"]["data"] == environment(overlay)


# --- what the service says ----------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("components", [(), ("own-model",)])
def test_variables_are_settings_within_their_range(
    environment: Callable[..., dict[str, str]], overlay: str, components: tuple[str, ...]
) -> None:
    variables = environment(overlay, *components)
    assert all(name == name.upper() and name.startswith(ENV_PREFIX) for name in variables)
    settings_of(variables)  # refuses what it does not know


def test_the_pod_sets_only_settings(container: Manifest) -> None:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    assert {variable["name"] for variable in container["env"]} <= known
    assert container["envFrom"] == [{"configMapRef": {"name": "facewright"}}]


def test_the_port_is_the_one_the_image_listens_on(
    base: dict[str, Manifest], container: Manifest
) -> None:
    (port,) = container["ports"]
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert f"FACEWRIGHT_PORT={port['containerPort']}" in dockerfile
    assert port["containerPort"] == Settings.model_fields["port"].default
    (service_port,) = base["Service"]["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    (rule,) = base["NetworkPolicy"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["name"]}]
    (monitor,) = load(K8S / "components" / "monitoring" / "servicemonitor.yaml")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service_port["name"]


def served_paths() -> set[str]:
    return set(create_app(Settings()).openapi()["paths"])


def test_probes_ask_the_endpoints_that_mean_it(container: Manifest) -> None:
    wanted = {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    for probe, path in wanted.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "http"}
        assert path in served_paths()


def test_metrics_are_scraped_where_they_are() -> None:
    (monitor,) = load(K8S / "components" / "monitoring" / "servicemonitor.yaml")
    assert monitor["spec"]["endpoints"][0]["path"] in served_paths()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_may_finish_what_it_has_accepted(
    environment: Callable[..., dict[str, str]],
    longest_shutdown: Callable[[Mapping[str, str]], float],
    pod: Manifest,
    container: Manifest,
    overlay: str,
) -> None:
    pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = pre_stop + longest_shutdown(environment(overlay))
    assert pod["terminationGracePeriodSeconds"] >= needed + 5


def test_draining_lasts_until_everybody_knows(
    environment: Callable[..., dict[str, str]], container: Manifest
) -> None:
    settings = settings_of(environment("cpu"))
    drain = settings.drain_seconds
    probe = container["readinessProbe"]
    assert drain >= probe["periodSeconds"] * probe["failureThreshold"]
    # A connection that is kept without a request is closed by the server after this long; any
    # other is told to close while draining lasts.
    assert drain >= settings.keep_alive_timeout


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_memory_suffices_for_all_that_is_admitted(
    environment: Callable[..., dict[str, str]],
    patches: Callable[[Path], dict[str, Any]],
    overlay: str,
) -> None:
    settings = settings_of(environment(overlay))
    assert settings.max_pixels <= 50_000_000  # what PHOTO_MEMORY stands for
    most = (
        IDLE_MEMORY
        + settings.concurrency * PHOTO_MEMORY
        + (settings.max_waiting + settings.max_uploads) * settings.max_upload_bytes
        + settings.max_albums * settings.max_album_bytes
        + settings.queue_bytes
    )
    added = patches(K8S / "overlays" / overlay)
    resources = added["/spec/template/spec/containers/0/resources"]
    assert memory(resources["limits"]["memory"]) >= most
    assert memory(resources["requests"]["memory"]) >= IDLE_MEMORY + PHOTO_MEMORY // 2


def test_the_ingress_leaves_refusing_to_the_service() -> None:
    (ingress,) = load(K8S / "components" / "ingress" / "ingress.yaml")
    annotations = ingress["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io/"
    body = int(annotations[prefix + "proxy-body-size"].removesuffix("m")) << 20
    limits = {name: field.default for name, field in Settings.model_fields.items()}
    # With the form around it.
    assert body > max(v for name, v in limits.items() if name.endswith("_bytes")) + 1_000_000
    read = int(annotations[prefix + "proxy-read-timeout"])
    assert read > max(v for name, v in limits.items() if name.endswith("_timeout"))
    (rule,) = ingress["spec"]["rules"]
    routed = {path["path"]: path["pathType"] for path in rule["http"]["paths"]}
    assert routed.pop("/v1/") == "Prefix"
    assert set(routed.values()) == {"Exact"}
    page = (ROOT / "service" / "api" / "static" / "index.html").read_text("utf-8")
    links = {f"/{link}" for link in re.findall(r'<a href="([a-z][\w./]*)"', page)}
    assert set(routed) == {"/"} | {link for link in links if not link.startswith("/v1/")}


def test_scaling_asks_for_series_and_routes_that_exist() -> None:
    (scaled,) = load(K8S / "overlays" / "keda" / "scaledobject.yaml")
    text = Metrics().render().decode()
    series = {
        sample
        for family in text_string_to_metric_families(text)
        for sample in (family.name, *(s.name for s in family.samples))
    }
    # A series with labels has no samples before its first.
    series |= {f"{name}_bucket" for name in series if name.endswith("_seconds")}
    queries = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
    asked = set(re.findall(r"facewright_\w+", " ".join(queries)))
    assert asked
    assert asked <= series
    for route in re.findall(r'route="([^"]+)"', " ".join(queries)):
        assert route in served_paths()
    # The operator puts the Service's name into the label `service`.
    assert all('service="facewright"' in query for query in queries)


# --- bulk runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rayjob() -> Manifest:
    (job,) = load(K8S / "components" / "bulk" / "rayjob.yaml")
    return job


def test_a_rayjob_runs_the_command_on_the_locked_ray(rayjob: Manifest) -> None:
    spec = rayjob["spec"]
    inner = re.fullmatch(r"sh -c '(.+) \|\| test \$\? -eq 1'", spec["entrypoint"])[1]  # type: ignore[index]
    program, command, *arguments = inner.split()
    assert (program, command) == ("facewright", "bulk")
    options = {option for p in get_command(app).commands["bulk"].params for option in p.opts}  # type: ignore[attr-defined]
    assert {argument for argument in arguments if argument.startswith("--")} <= options
    locked = (ROOT / "requirements" / "bulk.txt").read_text("utf-8")
    assert f"\nray=={spec['rayClusterSpec']['rayVersion']}\n" in locked
    (head,) = ray_pods(rayjob)["head"]["spec"]["containers"]
    assert spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert {port["containerPort"] for port in head["ports"]} == {6379, 8265, 10001}


def test_pods_of_a_rayjob_have_no_privileges(
    rayjob: Manifest, pod: Manifest, container: Manifest
) -> None:
    (policy,) = load(K8S / "components" / "bulk" / "networkpolicy.yaml")
    selected = policy["spec"]["podSelector"]["matchLabels"].items()
    for template in ray_pods(rayjob).values():
        assert selected <= template["metadata"]["labels"].items()
        spec = template["spec"]
        assert spec["securityContext"] == pod["securityContext"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        (only,) = spec["containers"]
        assert only["securityContext"] == container["securityContext"]
        variables = {variable["name"]: variable["value"] for variable in only["env"]}
        assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for mount in only["volumeMounts"]} == volumes


def test_the_service_does_not_take_the_pods_of_a_rayjob(
    rayjob: Manifest, base: dict[str, Manifest]
) -> None:
    selector = base["Service"]["spec"]["selector"].items()
    for template in ray_pods(rayjob).values():
        assert not selector <= template["metadata"]["labels"].items()


# --- what holds the parts together ---------------------------------------------------------------


def test_everything_selects_the_pods(base: dict[str, Manifest]) -> None:
    template = base["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    selectors = [
        base["Deployment"]["spec"]["selector"]["matchLabels"],
        base["Service"]["spec"]["selector"],
        base["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        base["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(
            constraint["labelSelector"]["matchLabels"]
            for constraint in template["spec"]["topologySpreadConstraints"]
        ),
    ]
    assert all(selector and selector.items() <= labels for selector in selectors)
    (monitor,) = load(K8S / "components" / "monitoring" / "servicemonitor.yaml")
    service_labels = base["Service"]["metadata"]["labels"].items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service_labels


def test_autoscalers_scale_the_deployment(base: dict[str, Manifest]) -> None:
    name = base["Deployment"]["metadata"]["name"]
    scaler = base["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": name,
    }
    (scaled,) = load(K8S / "overlays" / "keda" / "scaledobject.yaml")
    assert scaled["spec"]["scaleTargetRef"] == {"name": name}
    # With the disruption budget's one away, another still serves.
    assert scaler["minReplicas"] >= 2
    assert scaled["spec"]["minReplicaCount"] >= 2
    assert "replicas" not in base["Deployment"]["spec"]


def test_the_pod_has_no_privileges(
    base: dict[str, Manifest], pod: Manifest, container: Manifest
) -> None:
    uid = int(re.search(r"^USER (\d+):", (ROOT / "Dockerfile").read_text("utf-8"), re.M)[1])  # type: ignore[index]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "fsGroup": uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert base["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == base["ServiceAccount"]["metadata"]["name"]
    assert pod["enableServiceLinks"] is False


def test_the_compiled_kernels_have_a_writable_place(pod: Manifest, container: Manifest) -> None:
    writable = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
    places = [m["mountPath"] for m in container["volumeMounts"] if m["name"] in writable]
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    cache = Path(re.search(r"NUMBA_CACHE_DIR=(\S+)", dockerfile)[1])  # type: ignore[index]
    assert any(cache.is_relative_to(place) for place in places)


def test_the_gpu_overlay_asks_for_one_and_goes_where_they_are(
    environment: Callable[..., dict[str, str]], patches: Callable[[Path], dict[str, Any]]
) -> None:
    added = patches(K8S / "overlays" / "gpu")
    resources = added["/spec/template/spec/containers/0/resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    assert added["/spec/template/spec/nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    (toleration,) = added["/spec/template/spec/tolerations"]
    assert toleration["key"] == "nvidia.com/gpu"
    assert settings_of(environment("gpu")).device == "cuda"


def test_own_models_are_where_the_settings_say(
    environment: Callable[..., dict[str, str]], patches: Callable[[Path], dict[str, Any]]
) -> None:
    added = patches(K8S / "components" / "own-model")
    volume = added["/spec/template/spec/volumes/-"]
    mount = added["/spec/template/spec/containers/0/volumeMounts/-"]
    assert mount["name"] == volume["name"]
    settings = settings_of(environment("cpu", "own-model"))
    for path in (settings.face_model, settings.weights):
        assert path is not None
        assert path.is_relative_to(mount["mountPath"])
