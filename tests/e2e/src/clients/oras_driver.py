"""One verb of oras-py for each run; the request is JSON in the first argument, the result JSON on
the last line of standard output."""

import json
import os
import sys

import oras.client
import oras.oci


def client(request):
    api = oras.client.OrasClient(
        hostname=request["host"], insecure=request["plain"], auth_backend="basic"
    )
    # Left alone, oras-py sends every request without the login first. A registry refuses a body of
    # 133 MiB before it has read it, and Python's TLS then sees a broken connection, not the answer.
    config = request["config"]
    if config and os.path.exists(config):
        with open(config) as file:
            login = json.load(file)["auths"][request["host"]]["auth"]
        api.set_header("Authorization", "Basic " + login)
    return api


def login(request):
    client(request).login(
        username=request["user"],
        password=request["password"],
        hostname=request["host"],
        config_path=request["config"],
    )
    return {}


def push(request):
    subject = request.get("subject")
    response = client(request).push(
        target=request["target"],
        files=request["files"],
        config_path=request["config"],
        manifest_config=request.get("manifest_config"),
        do_chunked=request["chunked"],
        disable_path_validation=True,
        subject=oras.oci.Subject(**subject) if subject else None,
    )
    return {"status": response.status_code, "headers": {k.lower(): v for k, v in response.headers.items()}}


def pull(request):
    files = client(request).pull(
        target=request["target"], outdir=request["outdir"], config_path=request["config"]
    )
    return {"files": files}


def tags(request):
    api = client(request)
    container = api.get_container(request["target"])
    api.auth.load_configs(container, configs=[request["config"]] if request["config"] else None)
    return {"tags": api.get_tags(container)}


VERBS = {"login": login, "push": push, "pull": pull, "tags": tags}

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(VERBS[asked["verb"]](asked)))
