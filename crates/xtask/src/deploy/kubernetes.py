"""Checks deploy/kubernetes and deploy/helm. Called by `cargo xtask deploy`, which brings the tools.

Arguments: the directory `deploy`, kustomize, the binary of Reclaim, a directory for files.
"""

import copy
import os
import subprocess
import sys

import helm_python
import kubernetes_validate
import yaml

# The oldest that the chart says it is for, one in the middle, and the newest that there are
# schemas of.
VERSIONS = ["1.25", "1.31", "1.37"]

# What may be written to on a node. Everything else of the host is mounted read-only.
WRITABLE = {"/var/lib/reclaim"}

DEPLOY, KUSTOMIZE, RECLAIM, SCRATCH = sys.argv[1:]
CHART = os.path.join(DEPLOY, "helm", "reclaim")


def fail(words):
    sys.exit(f"error: {words}")


def kustomized(name):
    path = os.path.join(DEPLOY, "kubernetes", name)
    text = subprocess.run([KUSTOMIZE, "build", path], check=True, stdout=subprocess.PIPE).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def rendered(values):
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name="reclaim", namespace="reclaim-system")
    documents = []
    for name, text in sorted(files.items()):
        if name.endswith(".yaml"):
            documents += [document for document in yaml.safe_load_all(text) if document]
    return documents


def only(documents, kind):
    found = [document for document in documents if document["kind"] == kind]
    if len(found) != 1:
        fail(f"{len(found)} of kind {kind}, not one")
    return found[0]


def check_schemas(title, documents):
    for document in documents:
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
    kinds = ", ".join(document["kind"] for document in documents)
    print(f"{title}: valid for Kubernetes {', '.join(VERSIONS)}: {kinds}")


def check_that_schemas_see_mistakes(documents):
    for mutate in [
        lambda spec: spec.update(hostNetwrk=True),
        lambda spec: spec["containers"][0]["ports"][0].update(containerPort="metrics"),
        lambda spec: spec["volumes"][1]["hostPath"].pop("path"),
    ]:
        wrong = copy.deepcopy(only(documents, "DaemonSet"))
        mutate(wrong["spec"]["template"]["spec"])
        try:
            kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)
        except kubernetes_validate.ValidationError:
            continue
        fail("the schemas do not see a mistake in a manifest")


def check_config(title, documents):
    path = os.path.join(SCRATCH, f"{title.replace('/', '-')}.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(only(documents, "ConfigMap")["data"]["config.toml"])
    # What is given out must not remove anything before somebody says so.
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text.count("[[policy]]") != text.count("dry_run = true"):
        fail(f"{title}: a policy would remove images")
    check = subprocess.run([RECLAIM, "--config", path, "config", "check"], check=False)
    if check.returncode != 0:
        fail(f"{title}: reclaim does not accept its configuration")


def check_rights(title, documents, has_turns):
    pod = only(documents, "DaemonSet")["spec"]["template"]["spec"]
    kinds = sorted(document["kind"] for document in documents)
    rights = [kind for kind in kinds if kind in ("Role", "RoleBinding", "ServiceAccount")]
    if any(kind.startswith("Cluster") for kind in kinds):
        fail(f"{title}: rights in the whole cluster")
    if pod["automountServiceAccountToken"] != has_turns or bool(rights) != has_turns:
        fail(f"{title}: a service account without need, or none where there is need: {rights}")
    if has_turns:
        name = only(documents, "ServiceAccount")["metadata"]["name"]
        binding = only(documents, "RoleBinding")
        if pod["serviceAccountName"] != name or binding["subjects"][0]["name"] != name:
            fail(f"{title}: the pod is not the one that has the rights")
        rules = [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
        ]
        if only(documents, "Role")["rules"] != rules:
            fail(f"{title}: other rights than those to Leases")
    check_container(title, pod)


def check_container(title, pod):
    (container,) = pod["containers"]
    security = container["securityContext"]
    if security.get("privileged") or security["allowPrivilegeEscalation"]:
        fail(f"{title}: privileged")
    if security["capabilities"] != {"drop": ["ALL"]} or not security["readOnlyRootFilesystem"]:
        fail(f"{title}: more than it needs")
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    for mount in container["volumeMounts"]:
        path = paths.get(mount["name"])
        if path is None or path in WRITABLE:
            continue
        if not mount.get("readOnly"):
            fail(f"{title}: {path} of the host can be written to")
        # containerd names its directories, and the daemon looks there.
        if mount["mountPath"] != path:
            fail(f"{title}: {path} is elsewhere in the container")
    for key in ("limits", "requests"):
        if set(container["resources"][key]) != {"cpu", "memory"}:
            fail(f"{title}: no {key}")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container[probe]["httpGet"]["port"] != container["ports"][0]["name"]:
            fail(f"{title}: {probe} asks another port")


def same_pod(documents):
    """Returns the pod without what must differ between kustomize and Helm."""
    pod = copy.deepcopy(only(documents, "DaemonSet")["spec"]["template"]["spec"])
    pod["containers"][0].pop("imagePullPolicy", None)
    for volume in pod["volumes"]:
        if "configMap" in volume:
            volume["configMap"]["name"] = "reclaim"
    return pod


def check_chart():
    report = helm_python.lint(CHART, strict=True)
    problems = [message for message in report["messages"] if message["severity"] >= 2]
    if problems or report["errors"]:
        fail(f"helm lint: {problems} {report['errors']}")
    for wrong in [{"turns": -1}, {"tuns": 1}, {"containerd": {"run": "relative"}}]:
        try:
            rendered(wrong)
        except helm_python.HelmValuesError:
            continue
        fail(f"the chart takes {wrong}")


def main():
    base, turns = kustomized("base"), kustomized("overlays/turns")
    chart, chart_with_turns = rendered({}), rendered({"turns": 2})
    k3s = rendered(
        {
            "turns": 1,
            "image": {"repository": "example.com/tools/reclaim", "tag": "test"},
            "imagePullSecrets": [{"name": "registry"}],
            "podAnnotations": {"team": "nodes"},
            "containerd": {
                "run": "/run/k3s/containerd",
                "root": "/var/lib/rancher/k3s/agent/containerd",
                "config": "/var/lib/rancher/k3s/agent/etc/containerd",
            },
        }
    )
    check_chart()
    for title, documents, has_turns in [
        ("base", base, False),
        ("overlays/turns", turns, True),
        ("chart", chart, False),
        ("chart with turns", chart_with_turns, True),
        ("chart for k3s", k3s, True),
    ]:
        check_schemas(title, documents)
        check_config(title, documents)
        check_rights(title, documents, has_turns)
    check_that_schemas_see_mistakes(base)
    if same_pod(base) != same_pod(chart) or same_pod(turns) != same_pod(chart_with_turns):
        fail("kustomize and Helm make different pods")


main()
