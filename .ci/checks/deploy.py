#!/usr/bin/env python3
"""What lies in deploy/: manifests and chart are what Kubernetes takes, and as strict as they say.

* Plain YAML, every rendering of the chart and the manifests of the guides pass the schemas of the oldest and the newest Kubernetes
  that the validator knows and the chart supports.
* Every pod passes the Pod Security Standard `restricted`.
* A volume for one node is never asked for by two pods: Recreate, one replica.
* What the chart must refuse, it refuses, and the validator is seen to refuse something.
* What `registryd k8s trust` and `pull-secret` print is valid too, and the same each time.

    deploy.py REGISTRYD     the binary
"""

import base64
import copy
import json
import pathlib
import subprocess
import sys
import tempfile

import helm_python as helm
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).parents[2] / "deploy"
FIXTURES = ROOT.parent / "tests" / "guides" / "fixtures"
CHART = ROOT / "helm" / "registryd"
VERSIONS = ["1.25.0", kubernetes_validate.latest_version()]

# The kinds that Kubernetes' own schemas do not know.
FOREIGN = {"ServiceMonitor"}

USERS = "docker:$2y$05$enG4ZbF26pDVZQ391loSju4qOXc5bPZT81kYqdAGDbdi4o1A4EU5q\n"

ACME = {"letsencrypt": {"hosts": ["registry.example.com"]}}

S3 = {"storage": "s3", "s3": {"bucket": "images", "region": "eu-central-1"}}


def on_volume(tls):
    """With a volume at /certs."""
    return {
        **S3, "configData": {"http": {"tls": tls}},
        "extraVolumes": [{"name": "certs", "persistentVolumeClaim": {"claimName": "certs"}}],
        "extraVolumeMounts": [{"name": "certs", "mountPath": "/certs"}],
    }


def acme(cachefile):
    return {"letsencrypt": {**ACME["letsencrypt"], "cachefile": cachefile}}


# name: (values, kinds that must be there, the strategy)
RENDERINGS = {
    "as it is": ({}, {"Deployment", "Service", "ConfigMap", "Secret", "PersistentVolumeClaim"}, "Recreate"),
    "TLS, users, ingress": (
        {"tlsSecretName": "tls", "secrets": {"htpasswd": USERS}, "ingress": {"enabled": True, "className": "nginx"}},
        {"Ingress"}, "Recreate",
    ),
    "shared volume": ({"persistence": {"accessMode": "ReadWriteMany"}, "replicaCount": 3}, set(), "RollingUpdate"),
    "S3": (
        {"storage": "s3", "s3": {"bucket": "images", "region": "eu-central-1"},
         "secrets": {"s3": {"accessKey": "key", "secretKey": "secret"}}, "replicaCount": 2,
         "podDisruptionBudget": {"minAvailable": 1}},
        {"PodDisruptionBudget"}, "RollingUpdate",
    ),
    "collection": ({"garbageCollect": {"enabled": True, "deleteUntagged": True, "interval": "12h"}}, set(), "Recreate"),
    "metrics, account, node port": (
        {"metrics": {"enabled": True, "serviceMonitor": {"enabled": True}}, "serviceAccount": {"create": True},
         "service": {"type": "NodePort", "nodePort": 30500}, "persistence": {"enabled": False}},
        {"ServiceMonitor", "ServiceAccount"}, "Recreate",
    ),
    "a pod's settings where other charts have them": (
        {"securityContext": {"enabled": True, "runAsUser": 1000, "fsGroup": 1000}}, set(), "Recreate",
    ),
    "ACME": ({"configData": {"http": {"tls": ACME}}, "service": {"type": "LoadBalancer", "port": 443}}, set(), "Recreate"),
    "ACME and S3": (on_volume(acme("/certs/acme")), set(), "RollingUpdate"),
    "a volume is the authority": (on_volume({"local": {"hosts": ["r.lan"], "directory": "/certs"}}), set(), "RollingUpdate"),
    "a certificate of one's own making": ({"configData": {"http": {"tls": {"local": {"hosts": ["r.lan"]}}}}}, set(), "Recreate"),
    "client certificates": (
        {"tlsSecretName": "tls", "configData": {"http": {"tls": {"clientcas": ["/clients/ca.crt"]}}}}, set(), "Recreate",
    ),
    "names of digits": (
        {"fullnameOverride": "1", "nameOverride": "2", "tlsSecretName": "3", "secrets": {"existingSecret": "4"},
         "persistence": {"existingClaim": "5"}, "serviceAccount": {"name": "6"}, "metrics": {"enabled": True}},
        set(), "Recreate",
    ),
}

# values that must be refused, and a word of the reason
REFUSED = [
    ({"imagee": {}}, "imagee"),
    ({"storage": "nfs"}, "storage"),
    ({"service": {"port": "5000"}}, "port"),
    ({"secrets": {"htpasswd": "/auth/htpasswd"}}, "--set-file"),
    ({"replicaCount": 2}, "ReadWriteMany"),
    ({"replicaCount": 2, "persistence": {"accessMode": "ReadWriteMany"}, "configData": {"http": {"tls": ACME}}}, "cert-manager"),
    ({"storage": "s3"}, "s3.bucket"),
    ({"configData": {"storage": {"s3": {"bucket": "images"}}}}, "configData.storage.s3"),
    ({"tlsSecretName": "tls", "configData": {"http": {"tls": {"local": {"hosts": ["r.lan"]}}}}}, "two certificates"),
    ({**S3, "configData": {"http": {"tls": ACME}}}, "cachefile"),
    ({**S3, "configData": {"http": {"tls": acme("/certs/acme")}}}, "cachefile"),
    (on_volume(acme("/certs2/acme")), "cachefile"),
    (on_volume({"local": {"hosts": ["r.lan"]}}), "directory"),
    ({"host": "https://registry.lan"}, "host"),
    ({"garbageCollect": {"interval": "0 1 * * *"}}, "interval"),
    ({"garbageCollect": {"cron": "0 1 * * *"}}, "cron"),
]

# As people have them for the chart they come from.
THEIR_COLLECTION = {"enabled": True, "schedule": "0 1 * * *", "resources": {"limits": {"cpu": "1"}}}


def main():
    problems = []
    checked = 0
    printed = list(commands(pathlib.Path(sys.argv[1]).resolve()))
    for name, documents, found in printed:
        checked += len(documents)
        problems += [f"{name}: {problem}" for problem in [*found, *valid(documents)]]
    for path in sorted(ROOT.glob("kubernetes/*.yaml")):
        documents = list(yaml.safe_load_all(path.read_text()))
        checked += len(documents)
        problems += [f"{path.name}: {problem}" for problem in check(documents)]
    # What the tutorials apply is what Kubernetes takes, no more: they do as they like with their pods.
    for path in sorted(FIXTURES.glob("*/manifests.yaml")):
        documents = list(yaml.safe_load_all(path.read_text()))
        checked += len(documents)
        problems += [f"guide {path.parent.name}: {problem}" for problem in valid(documents)]
    base = ROOT / "kustomize" / "base"
    resources = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    problems += [f"kustomize: {name} is missing" for name in resources if not (base / name).is_file()]

    lint = helm.lint(str(CHART), strict=True)
    problems += [f"helm lint: {message['error']}" for message in lint["messages"] if message["severity"] > 1]
    problems += [f"helm lint: {error}" for error in lint["errors"]]
    chart = helm.Chart.load(str(CHART))
    for name, (values, kinds, strategy) in RENDERINGS.items():
        rendered = render(chart, values)
        documents = [document for text in rendered.values() for document in yaml.safe_load_all(text) if document]
        checked += len(documents)
        problems += [f"chart, {name}: {problem}" for problem in check(documents)]
        found = {document["kind"] for document in documents}
        problems += [f"chart, {name}: no {kind}" for kind in sorted(kinds - found)]
        deployment = next(document for document in documents if document["kind"] == "Deployment")
        if deployment["spec"]["strategy"]["type"] != strategy:
            problems.append(f"chart, {name}: the strategy is not {strategy}")
    problems += collection(chart)
    problems += probes(chart)
    problems += metrics(chart)
    problems += refusals(chart)
    problems += blindness()
    compose = yaml.safe_load((ROOT / "compose" / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        for key in ("image", "healthcheck", "volumes", "restart"):
            if key not in service:
                problems.append(f"compose: {name} has no {key}")
        # Keys have mode 0600 and belong to whoever made them; root without this may not read them.
        if service.get("cap_drop") != ["ALL"] or service.get("cap_add") != ["DAC_OVERRIDE"]:
            problems.append(f"compose: {name} has other capabilities than to read certs/tls.key")

    for problem in problems:
        print(f"deploy: {problem}")
    print(f"deploy: {checked} manifests, {len(problems)} problems")
    return 1 if problems or not checked else 0


def commands(registryd):
    """What the binary prints for a cluster: its name, the documents, what is wrong with them."""
    with tempfile.TemporaryDirectory() as directory:
        def printed(*arguments, said=""):
            texts = {
                subprocess.run([registryd, *arguments], cwd=directory, input=said, text=True, check=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
                for _ in range(2)
            }
            documents = [list(yaml.safe_load_all(text)) for text in texts]
            return documents[0], [] if len(texts) == 1 else ["not the same each time"]

        subprocess.run([registryd, "cert", "new", "--host", "registry.lan", "--out", "made"], cwd=directory,
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        authority = (pathlib.Path(directory) / "made" / "ca.crt").read_text()
        trust = "k8s", "trust", "registry.lan:5000"
        odd = "--name", "1", "--namespace", "true"
        for more in (["--ca", "made/ca.crt"], ["--uninstall"], ["--ca", "made/ca.crt", *odd]):
            documents, problems = printed(*trust, *more)
            kinds = [document["kind"] for document in documents]
            if kinds != ["Namespace", "ConfigMap", "DaemonSet"]:
                problems.append(f"it has {kinds}")
            data, pod = documents[1]["data"], documents[2]["spec"]["template"]["spec"]
            if more[0] == "--ca" and not data["ca.crt"].endswith(authority):
                problems.append("ca.crt is not the authority's certificate")
            # A directory of the node, and root to write there: nothing else that `restricted` forbids.
            found = {problem for problem in restricted(pod)}
            if found != {"may run as root", "volume certs-d is of a kind that is not allowed"}:
                problems.append(f"the pod is as open as this: {sorted(found)}")
            yield f"k8s trust {' '.join(more)}", documents, problems
        secret = "pull-secret", "registry.lan:5000", "--user", "docker", "--password-stdin", "-n", "apps"
        documents, problems = printed(*secret, said="hush\n")
        config = json.loads(base64.b64decode(documents[0]["data"][".dockerconfigjson"]))
        want = {"username": "docker", "password": "hush", "auth": base64.b64encode(b"docker:hush").decode()}
        if config != {"auths": {"registry.lan:5000": want}}:
            problems.append(f"it holds {config}")
        yield "pull-secret", documents, problems
        documents, problems = printed(*secret[:-2], "-n", "1", "--name", "2", said="hush\n")
        yield "pull-secret with names of digits", documents, problems


def render(chart, values):
    chart.validate_schema(values)
    return {
        name: text
        for name, text in chart.render(values, name="hub", namespace="images").items()
        if name.endswith(".yaml")
    }


def notes(chart, values):
    rendered = chart.render(values, name="hub", namespace="images").items()
    return "".join(text for name, text in rendered if name.endswith("NOTES.txt"))


def valid(documents):
    for document in documents:
        if document["kind"] not in FOREIGN:
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    name = f"{document['kind']} {document['metadata']['name']}"
                    yield f"{name}: not for Kubernetes {version}: {error.message}"


def check(documents):
    yield from valid(documents)
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"] == "Deployment":
            yield from (f"{name}: {problem}" for problem in restricted(document["spec"]["template"]["spec"]))
            if document["spec"]["strategy"]["type"] == "Recreate" and document["spec"]["replicas"] != 1:
                yield f"{name}: several replicas on a volume for one node"
    claims = {d["metadata"]["name"]: d["spec"]["accessModes"] for d in documents if d["kind"] == "PersistentVolumeClaim"}
    for document in documents:
        if document["kind"] == "Deployment" and ["ReadWriteOnce"] in claims.values():
            if document["spec"]["strategy"]["type"] != "Recreate":
                yield "a rolling update would wait for ever for the volume of the pod it replaces"


def restricted(pod):
    """The Pod Security Standard `restricted`, as far as a Deployment can break it."""
    shared = pod.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"{key} is set"
    for volume in pod.get("volumes", []):
        if not set(volume) & {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}:
            yield f"volume {volume['name']} is of a kind that is not allowed"
    for container in pod["containers"] + pod.get("initContainers", []):
        own = {**shared, **container.get("securityContext", {})}
        if own.get("runAsNonRoot") is not True or own.get("runAsUser") == 0:
            yield "may run as root"
        if own.get("allowPrivilegeEscalation") is not False:
            yield "may gain privileges"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
            yield "keeps capabilities"
        if own.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield "has no seccomp profile"
        if own.get("privileged"):
            yield "is privileged"
        if own.get("readOnlyRootFilesystem") is not True:
            yield "has a writable root file system"
    if pod.get("enableServiceLinks") is not False:
        yield "gets the variables of Services"


def collection(chart):
    """`garbageCollect` reaches config.yml, and what of it has no effect is named."""
    def config(values):
        maps = [yaml.safe_load(text) for name, text in render(chart, values).items() if name.endswith("configmap.yaml")]
        return yaml.safe_load(maps[0]["data"]["config.yml"])["storage"].get("gc")

    want = {"enabled": True, "untagged": False, "interval": "24h", "grace": "24h"}
    found = config({"garbageCollect": THEIR_COLLECTION})
    if found != want:
        yield f"garbageCollect: storage.gc is {found}, not {want}"
    if config({}) is not None:
        yield "garbageCollect: it is on unless asked for"
    more = config({"garbageCollect": {"enabled": True}, "configData": {"storage": {"gc": {"maxshare": 10}}}})
    if more != {**want, "maxshare": 10}:
        yield f"garbageCollect: with configData, storage.gc is {more}"
    for values, said, unsaid in [
        ({"garbageCollect": THEIR_COLLECTION}, ["garbageCollect.schedule, garbageCollect.resources", "every 24h"], "podLabels"),
        ({"garbageCollect": {"enabled": True}}, ["manifests without a tag stay"], "Of no effect"),
    ]:
        shown = notes(chart, values)
        yield from (f"NOTES.txt does not say {text!r}" for text in said if text not in shown)
        if unsaid in shown:
            yield f"NOTES.txt says {unsaid!r}"


def probes(chart):
    """Probes speak as the registry does, and ask no more than it can answer."""
    secret = {"tlsSecretName": "tls"}
    asks = {"plain": ("httpGet HTTP",) * 3, "tls": ("httpGet HTTPS",) * 3,
            # Every handshake is refused until there is a certificate, which needs the pod to be there.
            "acme": ("tcpSocket", "tcpSocket", "httpGet HTTPS"), "clients": ("tcpSocket", "tcpSocket", "exec")}
    clients = {"clientcas": ["/clients/ca.crt"]}
    for values, want, scheme in [
        ({}, "plain", "http"),
        (secret, "tls", "https"),
        ({"configData": {"http": {"tls": {"certificate": "/certs/tls.crt", "key": "/certs/tls.key"}}}}, "tls", "https"),
        ({"configData": {"http": {"tls": {"local": {"hosts": ["r.lan"]}}}}}, "tls", "https"),
        ({"configData": {"http": {"tls": {"minimumtls": "tls1.3"}}}}, "plain", "http"),
        ({"configData": {"http": {"tls": ACME}}}, "acme", "https"),
        ({**secret, "configData": {"http": {"tls": clients}}}, "clients", "https"),
        ({**secret, "configData": {"http": {"tls": {**clients, "clientauth": "request-client-cert"}}}}, "tls", "https"),
    ]:
        documents = [document for text in render(chart, values).values() for document in yaml.safe_load_all(text) if document]
        container = next(d for d in documents if d["kind"] == "Deployment")["spec"]["template"]["spec"]["containers"][0]
        found = []
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            kind = next(kind for kind in ("httpGet", "tcpSocket", "exec") if kind in container[name])
            found.append(f"{kind} {container[name][kind].get('scheme', '')}".strip())
        if tuple(found) != asks[want]:
            yield f"probes with {values}: {found}, not {asks[want]}"
        service = next(d for d in documents if d["kind"] == "Service")["spec"]
        if service.get("publishNotReadyAddresses", False) != (want == "acme"):
            yield f"probes with {values}: the Service leaves out, or has, a pod that is not ready"
        if f"registryd serves {scheme}://" not in notes(chart, values):
            yield f"NOTES.txt with {values} does not say {scheme}://"


def metrics(chart):
    """The operators' listener is for the cluster alone, and is scraped once."""
    values = {"metrics": {"enabled": True, "serviceMonitor": {"enabled": True}}, "service": {"type": "LoadBalancer"}}
    documents = [document for text in render(chart, values).values() for document in yaml.safe_load_all(text) if document]
    services = [document for document in documents if document["kind"] == "Service"]
    open_ports = {port["name"] for s in services if s["spec"]["type"] != "ClusterIP" for port in s["spec"]["ports"]}
    if open_ports != {"registry"}:
        yield f"metrics: the load balancer has {sorted(open_ports)}"
    monitor = next(document for document in documents if document["kind"] == "ServiceMonitor")["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    found = [s["spec"] for s in services if wanted <= s["metadata"]["labels"].items()]
    ports = [port["name"] for spec in found for port in spec["ports"]]
    if ports != [endpoint["port"] for endpoint in monitor["endpoints"]]:
        yield f"metrics: the ServiceMonitor finds the ports {ports}"
    labels = next(d for d in documents if d["kind"] == "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    if not all(spec["selector"].items() <= labels for spec in found):
        yield "metrics: the Service finds no pod"


def refusals(chart):
    for values, reason in REFUSED:
        try:
            render(chart, values)
        except helm.HelmError as error:
            if reason not in str(error):
                yield f"the chart refuses {values} for another reason than {reason}: {error}"
        else:
            yield f"the chart takes {values}"


def blindness():
    """What is wrong is seen: else all of the above says nothing."""
    documents = list(yaml.safe_load_all((ROOT / "kubernetes" / "registryd.yaml").read_text()))
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    for break_it, what in [
        (lambda d: d["spec"].update(replica=1), "an unknown field"),
        (lambda d: d["spec"]["template"]["spec"]["containers"][0].pop("securityContext"), "a pod that may do all"),
        (lambda d: d["spec"]["template"]["spec"]["containers"][0]["ports"][0].update(containerPort="x"), "a wrong type"),
    ]:
        broken = copy.deepcopy(deployment)
        break_it(broken)
        if not list(check([broken])):
            yield f"this check does not see {what}"


if __name__ == "__main__":
    sys.exit(main())
