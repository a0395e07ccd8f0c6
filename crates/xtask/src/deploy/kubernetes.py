"""Checks deploy/kubernetes and deploy/helm. `cargo xtask deploy` fetches the tools and calls it.

Arguments: the root of the repository, kustomize, the binary of Reclaim, a scratch directory.
"""

import copy
import json
import os
import socket
import subprocess
import sys
import time
import tomllib

import helm_python
import kubernetes_validate
import yaml
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional

# The oldest version that the chart supports, one in the middle, and the newest with schemas.
VERSIONS = ["1.25", "1.31", "1.37"]

# The directories of a node that may be writable. All others are mounted read-only.
WRITABLE = {"/var/lib/reclaim"}

# The kinds that only newer versions have. Older ones install the lock without them.
ADMISSION = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
ADMISSION_SINCE = (1, 30)

# The claim of a pod's token that names its node, as the API server passes it to admission.
NODE_CLAIM = "authentication.kubernetes.io/node-name"

ROOT, KUSTOMIZE, RECLAIM, SCRATCH = sys.argv[1:]
DEPLOY = os.path.join(ROOT, "deploy")
CHART = os.path.join(DEPLOY, "helm", "reclaim")

# The permissions on the Leases of the cluster lock, and on Events about nodes.
LEASES = [
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "list", "create", "update", "delete"],
    }
]
EVENTS = [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}]

# Probes of these kinds use a port, which other pods can reach.
BY_PORT = ("httpGet", "tcpSocket", "grpc")


def fail(message):
    sys.exit(f"error: {message}")


def kustomized(name):
    return built(os.path.join(DEPLOY, "kubernetes", name))


def built(path):
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
        fail(f"expected one {kind}, found {len(found)}")
    return found[0]


def check_schemas(title, documents):
    for document in documents:
        for version in VERSIONS:
            is_old = tuple(map(int, version.split("."))) < ADMISSION_SINCE
            if not (is_old and document["kind"] in ADMISSION):
                kubernetes_validate.validate(document, version, strict=True)
    kinds = ", ".join(document["kind"] for document in documents)
    print(f"{title}: valid for Kubernetes {', '.join(VERSIONS)}: {kinds}")


def check_that_schemas_find_mistakes(documents):
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
        fail("the schemas did not find a mistake in a manifest")


def check_config(title, documents):
    path = os.path.join(SCRATCH, f"{title.replace('/', '-')}.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(only(documents, "ConfigMap")["data"]["config.toml"])
    # The shipped configuration must not remove anything.
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text.count("[[policy]]") != text.count("dry_run = true"):
        fail(f"{title}: a policy without dry_run")
    check = subprocess.run([RECLAIM, "--config", path, "config", "check"], check=False)
    if check.returncode != 0:
        fail(f"{title}: reclaim rejects the configuration")


def check_rights(title, documents, has_lock):
    pod = only(documents, "DaemonSet")["spec"]["template"]["spec"]
    kinds = sorted(document["kind"] for document in documents)
    rights = [kind for kind in kinds if kind in ("Role", "RoleBinding", "ServiceAccount")]
    if any(kind.startswith("Cluster") for kind in kinds):
        fail(f"{title}: cluster-wide permissions")
    if pod["automountServiceAccountToken"] != has_lock or bool(rights) != has_lock:
        fail(f"{title}: an unnecessary or missing service account: {rights}")
    if has_lock:
        account = only(documents, "ServiceAccount")["metadata"]
        subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        bindings = {place(binding): binding for binding in documents if binding["kind"] == "RoleBinding"}
        roles = {place(role): role["rules"] for role in documents if role["kind"] == "Role"}
        for (namespace, name), binding in bindings.items():
            if binding["subjects"] != [subject] or (namespace, binding["roleRef"]["name"]) not in roles:
                fail(f"{title}: the binding {name} in {namespace} is not of the pod and one of the roles")
        if pod["serviceAccountName"] != account["name"] or len(bindings) != len(roles):
            fail(f"{title}: the permissions are not those of the pod")
        rules = {namespace: rules for (namespace, _), rules in roles.items()}
        if rules != {account["namespace"]: LEASES, "default": EVENTS}:
            fail(f"{title}: permissions other than those on Leases and Events: {rules}")
        check_admission(title, documents)
    check_container(title, pod)


def place(document):
    metadata = document["metadata"]
    return metadata["namespace"], metadata["name"]


def check_admission(title, documents):
    """Evaluates the policy for writes of Leases, by the name and the namespace that the daemon uses."""
    policy, binding = (only(documents, kind) for kind in ADMISSION)
    name = policy["metadata"]["name"]
    if binding["spec"] != {"policyName": name, "validationActions": ["Deny"]}:
        fail(f"{title}: the admission policy is not enforced: {binding['spec']}")
    spec = policy["spec"]
    (rule,) = spec["matchConstraints"]["resourceRules"]
    if spec["failurePolicy"] != "Fail" or set(rule["operations"]) != {"CREATE", "UPDATE", "DELETE"}:
        fail(f"{title}: the admission policy misses writes: {spec}")
    for document in documents:
        has_namespace = "namespace" in document["metadata"]
        if has_namespace == (document["kind"] in (*ADMISSION, "Namespace")):
            fail(f"{title}: {document['kind']} has a namespace that it should not have, or none")
    account = only(documents, "ServiceAccount")["metadata"]
    selector = {"matchLabels": {"kubernetes.io/metadata.name": account["namespace"]}}
    if spec["matchConstraints"]["namespaceSelector"] != selector:
        fail(f"{title}: the admission policy is for another namespace: {spec['matchConstraints']}")
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    config = tomllib.loads(only(documents, "ConfigMap")["data"]["config.toml"])
    prefix = config["fleet"].get("lease_name", "reclaim-turn")
    own, others = f"{prefix}-node-1", f"{prefix}-node-2"
    for expected, operation, lease, holder, who, node in [
        (True, "CREATE", own, "node-1", user, "node-1"),
        (True, "UPDATE", own, "node-1", user, "node-1"),
        (True, "DELETE", own, None, user, "node-1"),
        (False, "CREATE", others, "node-1", user, "node-1"),
        (False, "UPDATE", others, "node-1", user, "node-1"),
        (False, "UPDATE", others, "node-2", user, "node-1"),
        (False, "DELETE", others, None, user, "node-1"),
        (False, "CREATE", f"{prefix}-0", "node-1", user, "node-1"),
        (False, "CREATE", f"{own}-1", "node-1", user, "node-1"),
        (False, "CREATE", own, "node-2", user, "node-1"),
        (False, "CREATE", own, None, user, "node-1"),
        (False, "DELETE", own, None, user, None),
        (False, "CREATE", f"{prefix}-", "", user, ""),
        (True, "UPDATE", others, "node-2", "system:serviceaccount:other:lease-holder", "node-1"),
    ]:
        extra = {} if node is None else {NODE_CLAIM: [node]}
        spec_of_lease = {} if holder is None else {"holderIdentity": holder}
        request = {"name": lease, "operation": operation, "userInfo": {"username": who, "extra": extra}}
        obj = None if operation == "DELETE" else {"metadata": {"name": lease}, "spec": spec_of_lease}
        if is_admitted(spec, {"request": request, "object": obj}) != expected:
            fail(f"{title}: the admission policy {'denies' if expected else 'admits'} {request} {obj}")


def is_admitted(policy, values):
    """Evaluates an admission policy as the API server does."""
    if not all(evaluated(condition["expression"], values) for condition in policy["matchConditions"]):
        return True
    variables = {}
    for variable in policy["variables"]:
        variables[variable["name"]] = evaluated(variable["expression"], {**values, "variables": variables})
    values = {**values, "variables": variables}
    return all(evaluated(validation["expression"], values) for validation in policy["validations"])


def evaluated(expression, values):
    types = {name: cel.Type.DYN for name in values}
    environment = cel.NewEnv(variables=types, extensions=[ext_optional.ExtOptional()])
    value = environment.compile(expression).eval(data=values)
    if value.type() == cel.Type.ERROR:
        fail(f"`{expression}`: {value.value()}")
    return value.plain_value()


def check_documented_patch(base):
    """Builds the overlay of docs/kubernetes.md, which leaves out a mount."""
    with open(os.path.join(ROOT, "docs", "kubernetes.md"), encoding="utf-8") as file:
        block = file.read().split("```yaml\npatches:\n")[1].split("```")[0]
    overlay = os.path.join(SCRATCH, "overlay")
    os.makedirs(overlay, exist_ok=True)
    resource = os.path.relpath(os.path.join(DEPLOY, "kubernetes", "base"), os.path.realpath(overlay))
    with open(os.path.join(overlay, "kustomization.yaml"), "w", encoding="utf-8") as file:
        file.write(f"resources: [{resource}]\npatches:\n{block}")
    expected = copy.deepcopy(only(base, "DaemonSet")["spec"]["template"]["spec"])
    (container,) = expected["containers"]
    container["volumeMounts"] = [it for it in container["volumeMounts"] if it["name"] != "kubelet-images"]
    expected["volumes"] = [it for it in expected["volumes"] if it["name"] != "kubelet-images"]
    patched = only(built(overlay), "DaemonSet")["spec"]["template"]["spec"]
    if patched != expected:
        fail(f"the patch of docs/kubernetes.md does not leave out a mount: {patched}")


def check_container(title, pod):
    (container,) = pod["containers"]
    security = container["securityContext"]
    if security.get("privileged") or security["allowPrivilegeEscalation"]:
        fail(f"{title}: privileged")
    if security["capabilities"] != {"drop": ["ALL"]} or not security["readOnlyRootFilesystem"]:
        fail(f"{title}: capabilities, or a writable root filesystem")
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    for mount in container["volumeMounts"]:
        path = paths.get(mount["name"])
        if path is None or path in WRITABLE:
            continue
        if not mount.get("readOnly"):
            fail(f"{title}: {path} of the host is writable")
        # containerd reports the paths of its directories, and the daemon uses them.
        if mount["mountPath"] != path:
            fail(f"{title}: {path} has another path in the container")
    for key in ("limits", "requests"):
        if set(container["resources"][key]) != {"cpu", "memory"}:
            fail(f"{title}: {key} are missing")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        check_probe(f"{title}: {name}", container[name])


def check_probe(title, probe):
    """Checks that a probe runs the binary: other pods could exhaust the connections of a port."""
    by_port = [key for key in BY_PORT if key in probe]
    if by_port:
        fail(f"{title} uses a port that other pods can exhaust: {by_port}")
    program, *args = probe["exec"]["command"]
    with open(os.path.join(DEPLOY, "container", "Containerfile"), encoding="utf-8") as file:
        if f"ENTRYPOINT {json.dumps([program])}" not in file.read():
            fail(f"{title} runs {program}, which is not the binary of the image")
    # The default is one second.
    deadline = probe["timeoutSeconds"]
    took = seconds_without_answer(tuple(args))
    if took >= deadline:
        fail(f"{title} takes {took:.1f} s without an answer, and its timeout is {deadline} s")


MEASURED = {}


def seconds_without_answer(args):
    """Returns how long the command of a probe takes on a socket that never answers."""
    if args not in MEASURED:
        path = os.path.join(SCRATCH, "silent")
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(path)
            silent.listen()
            began = time.monotonic()
            probe = [RECLAIM, "--host", f"unix://{path}", *args]
            ended = subprocess.run(probe, check=False, stderr=subprocess.PIPE)
            MEASURED[args] = time.monotonic() - began
        os.unlink(path)
        if ended.returncode != 1 or b"no answer from the daemon" not in ended.stderr:
            fail(f"{' '.join(args)} does not check the health of a daemon: {ended}")
    return MEASURED[args]


def check_network(title, documents, has_lock):
    """Checks that only the metrics port is open, to named peers, and egress only to the API server."""
    daemon_set, policy = only(documents, "DaemonSet")["spec"], only(documents, "NetworkPolicy")["spec"]
    pod = daemon_set["template"]["spec"]
    if pod.get("hostNetwork"):
        fail(f"{title}: a policy does not apply to the host network")
    if policy["podSelector"] != daemon_set["selector"]:
        fail(f"{title}: the policy selects other pods: {policy['podSelector']}")
    if sorted(policy["policyTypes"]) != ["Egress", "Ingress"]:
        fail(f"{title}: the policy is for {policy['policyTypes']} only")
    port = pod["containers"][0]["ports"][0]["containerPort"]
    for rule in policy["ingress"]:
        # A rule without peers applies to every pod.
        if not rule.get("from") or not all(rule["from"]):
            fail(f"{title}: any pod can connect")
        if rule["ports"] != [{"protocol": "TCP", "port": port}]:
            fail(f"{title}: ports other than metrics are open: {rule['ports']}")
    ports = [(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]]
    if any(protocol != "TCP" for protocol, _ in ports) or bool(ports) != has_lock:
        fail(f"{title}: unnecessary or missing egress: {ports}")


def check_that_checks_find_mistakes(documents):
    def probe_by_port(kind):
        def mutate(daemon_set, _policy):
            probe = daemon_set["template"]["spec"]["containers"][0]["livenessProbe"]
            probe.pop("exec")
            probe[kind] = {"path": "/live", "port": "metrics"}

        return mutate

    def probe_of_another(daemon_set, _policy):
        daemon_set["template"]["spec"]["containers"][0]["startupProbe"]["exec"]["command"][0] = "/bin/sh"

    mutations = [probe_by_port(kind) for kind in BY_PORT] + [
        probe_of_another,
        lambda daemon_set, _: daemon_set["template"]["spec"].update(hostNetwork=True),
        lambda _, policy: policy["ingress"][0].pop("from"),
        lambda _, policy: policy["ingress"][0]["from"].append({}),
        lambda _, policy: policy["ingress"][0]["ports"].append({"protocol": "TCP", "port": 80}),
        lambda _, policy: policy["ingress"].append({}),
        lambda _, policy: policy["podSelector"].clear(),
        lambda _, policy: policy["policyTypes"].remove("Egress"),
        lambda _, policy: policy["egress"].append({"ports": [{"protocol": "TCP", "port": 443}]}),
    ]
    for number, mutate in enumerate(mutations):
        wrong = copy.deepcopy(documents)
        mutate(only(wrong, "DaemonSet")["spec"], only(wrong, "NetworkPolicy")["spec"])
        try:
            check_container("a mistake", only(wrong, "DaemonSet")["spec"]["template"]["spec"])
            check_network("a mistake", wrong, False)
        except SystemExit:
            continue
        fail(f"mistake {number} was not found")


def same_pod(documents):
    """Returns the pod without the parts that differ between kustomize and Helm."""
    pod = copy.deepcopy(only(documents, "DaemonSet")["spec"]["template"]["spec"])
    pod["containers"][0].pop("imagePullPolicy", None)
    for volume in pod["volumes"]:
        if "configMap" in volume:
            volume["configMap"]["name"] = "reclaim"
    return pod


def same_policy(documents):
    """Returns the network policy without the parts that differ between kustomize and Helm."""
    policy = copy.deepcopy(only(documents, "NetworkPolicy")["spec"])
    policy.pop("podSelector")
    return policy


def check_chart():
    report = helm_python.lint(CHART, strict=True)
    problems = [message for message in report["messages"] if message["severity"] >= 2]
    if problems or report["errors"]:
        fail(f"helm lint: {problems} {report['errors']}")
    for wrong in [{"turns": -1}, {"tuns": 1}, {"containerd": {"run": "relative"}}, {"networkPolicy": {"scrapers": [{}]}}]:
        try:
            rendered(wrong)
        except helm_python.HelmValuesError:
            continue
        fail(f"the chart accepts {wrong}")


def main():
    base, turns = kustomized("base"), kustomized("overlays/turns")
    chart, chart_with_lock = rendered({}), rendered({"turns": 2})
    k3s = rendered(
        {
            "turns": 1,
            "image": {"repository": "example.com/tools/reclaim", "tag": "test"},
            "imagePullSecrets": [{"name": "registry"}],
            "podAnnotations": {"team": "nodes"},
            "metricsPort": 9000,
            "networkPolicy": {
                "scrapers": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
                "apiServer": {"ports": [6443], "peers": [{"ipBlock": {"cidr": "198.51.100.7/32"}}]},
            },
            "containerd": {
                "run": "/run/k3s/containerd",
                "root": "/var/lib/rancher/k3s/agent/containerd",
                "config": "/var/lib/rancher/k3s/agent/etc/containerd",
            },
        }
    )
    check_chart()
    for title, documents, has_lock in [
        ("base", base, False),
        ("overlays/turns", turns, True),
        ("chart", chart, False),
        ("chart with cluster lock", chart_with_lock, True),
        ("chart for k3s", k3s, True),
    ]:
        check_schemas(title, documents)
        check_config(title, documents)
        check_rights(title, documents, has_lock)
        check_network(title, documents, has_lock)
    check_documented_patch(base)
    check_that_schemas_find_mistakes(base)
    check_that_checks_find_mistakes(base)
    if same_pod(base) != same_pod(chart) or same_pod(turns) != same_pod(chart_with_lock):
        fail("kustomize and Helm render different pods")
    if same_policy(base) != same_policy(chart) or same_policy(turns) != same_policy(chart_with_lock):
        fail("kustomize and Helm render different network policies")
    if any(document["kind"] == "NetworkPolicy" for document in rendered({"networkPolicy": {"enabled": False}})):
        fail("the network policy cannot be disabled")
    without = rendered({"turns": 1, "admissionPolicy": False})
    if any(document["kind"] in ADMISSION for document in without):
        fail("the admission policy cannot be left out")
    alone = rendered({"networkPolicy": {"scrapers": []}})
    check_network("chart without scrapers", alone, False)
    if only(alone, "NetworkPolicy")["spec"]["ingress"]:
        fail("without scrapers, any pod can connect")


main()
