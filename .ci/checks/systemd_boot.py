#!/usr/bin/env python3
"""What `registryd init systemd` prints, under a systemd that is process 1, with skopeo as the client.

    systemd_boot.py PROGRAM     PROGRAM is registryd; as root

The machine is made of this one's /usr (systemd_machine.py). The commands that `init` names are run as it names them, and then:

* the service says that it is ready, and has the socket that systemd opened;
* pushing and pulling over TLS needs the password; certificate, key and users come from credentials;
* it runs as a user of its own, with what the unit leaves it, and owns its files;
* it starts for a connection to the socket; a restart refuses no connection, takes up new users and a new certificate;
* killed, it is back with all its images; so are those of a directory that belonged to somebody else before;
* what it does, garbage collection included, needs no system call that the unit forbids.
"""

import hashlib
import json
import pathlib
import random
import re
import sys
import time

from systemd_machine import PATIENCE, Machine, MachineError

HOST = "registry.lan"
IMAGE = f"docker://{HOST}:5000/team/app"
BIN = "/usr/local/bin/registryd"
STORE = "/var/lib/registryd"
# Above 16 MiB, content goes to the disk another way.
LAYERS = [1 << 10, 24 << 20]

# Asks until its input ends, with a new connection each time, and says what came.
ASKING = """
import collections, http.client, json, ssl, sys, threading
context = ssl.create_default_context(cafile=sys.argv[2])
host, port = sys.argv[1].split(":")
end = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
answers = collections.Counter()
while not end.is_set():
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)
    try:
        connection.request("GET", "/v2/")
        answers[str(connection.getresponse().status)] += 1
    except (OSError, http.client.HTTPException) as error:
        answers[repr(error)] += 1
    finally:
        connection.close()
    if sum(answers.values()) == 1:
        print(flush=True)
print(json.dumps(answers))
"""

# What becomes of a call that the unit forbids: it ends the process, where the unit only refuses it.
STRICT = "[Service]\nSystemCallErrorNumber=kill\n"
COLLECTING = (
    "[Service]\n"
    "Environment=REGISTRY_STORAGE_GC_ENABLED=true REGISTRY_STORAGE_GC_GRACE=1s REGISTRY_STORAGE_GC_INTERVAL=1s\n"
)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    problems = []
    try:
        with Machine(program) as machine:
            check = Check(machine)
            for step in (
                check.install, check.serve, check.confinement, check.commands, check.restart, check.activation,
                check.killed, check.adopted, check.calls,
            ):
                # More starts in ten seconds than systemd allows.
                machine.run("systemctl", "reset-failed")
                step()
                print(f"systemd: {step.__name__} ok")
    except MachineError as error:
        problems.append(str(error))
    for problem in problems:
        print(f"systemd: {problem}")
    print(f"systemd, booted: {len(problems)} problems")
    return 1 if problems else 0


class Check:
    def __init__(self, machine):
        self.machine = machine
        self.run = machine.run
        self.password = ""
        self.images = {}

    def install(self):
        """As the command says that it is done."""
        next_steps = self.run(BIN, "init", "systemd", "--host", HOST, "--out", ".").stderr
        self.run(BIN, "cert", "new", "--host", HOST, "--out", "tls")
        self.run("mkdir", "/etc/registryd")
        self.run("install", "-m", "0600", "tls/tls.crt", "tls/tls.key", "/etc/registryd")
        added = self.run(BIN, "user", "add", "docker", "--generate", "--file", "/etc/registryd/htpasswd")
        self.password = added.stdout.strip()
        commands = re.findall(r"^(?:next:)?\s+((?:install|cp|systemctl) .*)$", next_steps, re.MULTILINE)
        expect(len(commands) >= 3, f"init named other commands: {next_steps}")
        for command in commands:
            self.run("sh", "-ec", command)

    def serve(self):
        """A push with the password, over TLS that is trusted, and a pull."""
        self.expect_ready("a socket was handed over")
        trusted = f"/etc/containers/certs.d/{HOST}:5000"
        self.run("mkdir", "-p", trusted)
        self.run("cp", "tls/ca.crt", trusted)
        self.images = {name: write_image(self.machine.path(f"/root/{name}"), name) for name in ("one", "two")}
        refused = self.copy("oci:one", f"{IMAGE}:one", check=False)
        expect(refused.returncode != 0, "a push without a password is not refused")
        refused = self.login("docker", "guessed", check=False)
        expect(refused.returncode != 0, "a login with a wrong password is not refused")
        self.login("docker", self.password)
        self.copy("oci:one", f"{IMAGE}:one")
        self.expect_image("one")

    def confinement(self):
        pid = self.show("MainPID")
        status = dict(line.split(":\t", 1) for line in self.run("cat", f"/proc/{pid}/status").stdout.splitlines())
        user = status["Uid"].split()[0]
        expect(int(user) >= 61184, f"the service runs as {user}, which is no dynamic user")
        wanted = {"CapEff": "400", "CapBnd": "400", "CapInh": "400", "NoNewPrivs": "1", "Seccomp": "2"}
        found = {name: status[name].lstrip("0") for name in wanted}
        expect(found == wanted, f"confined by {found}, not by {wanted}")
        self.expect_owner(user)
        credentials = [f"/run/credentials/registryd.service/{name}" for name in ("htpasswd", "tls.crt", "tls.key")]
        modes = self.run("stat", "-c", "%a %u", *credentials).stdout.splitlines()
        expect(set(modes) == {f"400 {user}"}, f"modes and owners of the credentials: {modes}")

    def commands(self):
        """What an administrator runs beside the service, as root, with the service's configuration."""
        config = "/etc/registryd/config.yml"
        self.run(BIN, "config", "check", "--strict", config)
        self.run(BIN, "user", "list", "--config", config)
        self.run(BIN, "healthcheck", "--config", config)
        self.run(BIN, "storage", "check", config)
        self.copy("oci:two", f"{IMAGE}:two")
        self.run("skopeo", "delete", f"{IMAGE}:two")
        collected = self.run(BIN, "garbage-collect", "--force", config).stdout
        expect("removed 4 blobs" in collected, f"another collection than of one image:\n{collected}")
        # What it wrote as root is the service's.
        self.expect_owner(self.user())
        self.copy("oci:two", f"{IMAGE}:two")
        self.expect_image("one")
        self.expect_image("two")

    def restart(self):
        """It refuses nobody, and takes up what changed in /etc/registryd."""
        self.run(BIN, "cert", "new", "--host", HOST, "--out", "renewed")
        self.run("sh", "-ec", "cat tls/ca.crt renewed/ca.crt >both.crt")
        added = self.run(BIN, "user", "add", "second", "--generate", "--file", "/etc/registryd/htpasswd")
        self.run("install", "-m", "0600", "renewed/tls.crt", "renewed/tls.key", "/etc/registryd")
        expect(self.login("second", added.stdout.strip(), check=False).returncode != 0, "it knows a user too early")
        reload = self.run("systemctl", "reload", "registryd", check=False)
        expect("not applicable" in reload.stderr, f"reload: {reload.stderr}")
        asking = self.machine.start("/usr/bin/python3", "-c", ASKING, f"{HOST}:5000", "both.crt")
        asking.stdout.readline()
        for verb in ("restart", "reload-or-restart", "restart"):
            before = self.show("MainPID")
            self.run("systemctl", verb, "registryd")
            expect(self.show("MainPID") != before, f"`systemctl {verb}` starts no other process")
        said, complaints = asking.communicate(timeout=PATIENCE)
        expect(asking.returncode == 0, complaints)
        answers = json.loads(said)
        print(f"systemd: answers while it restarted: {answers}")
        expect(set(answers) == {"401"}, f"while it restarted, clients saw {answers}")
        self.run("cp", "renewed/ca.crt", f"/etc/containers/certs.d/{HOST}:5000/")
        self.login("second", added.stdout.strip())
        self.expect_image("one")
        shown = self.run(BIN, "cert", "show", f"{HOST}:5000").stdout
        file = self.run(BIN, "cert", "show", "renewed/tls.crt").stdout
        fingerprint = re.compile("^fingerprint .*$", re.MULTILINE)
        expect(fingerprint.findall(shown) == fingerprint.findall(file), f"another certificate is served:\n{shown}")

    def activation(self):
        """A connection starts it; and without the socket, it listens itself."""
        self.run("systemctl", "stop", "registryd.service")
        expect(self.show("Result", "ExecMainStatus") == "success\n0", "stopped, it did not end as it should")
        self.expect_image("one")
        self.expect_ready("a socket was handed over")
        self.run("systemctl", "stop", "registryd.socket", "registryd.service")
        self.run("systemctl", "start", "registryd.service")
        self.expect_image("two")
        self.run("systemctl", "stop", "registryd.service")
        self.run("systemctl", "start", "registryd.socket")

    def killed(self):
        self.expect_image("one")
        pid = self.show("MainPID")
        self.run("systemctl", "kill", "--signal=SIGKILL", "registryd.service")
        # What it had accepted is lost with it; what comes after waits for the next.
        self.until(lambda: self.show("MainPID") != pid, "a process that was killed is not replaced")
        self.expect_image("one")
        self.expect_image("two")

    def adopted(self):
        """A directory that was somebody else's, and has the same name."""
        self.run("systemctl", "stop", "registryd.socket", "registryd.service")
        self.run("rm", STORE)
        self.run("mv", "/var/lib/private/registryd", STORE)
        self.run("chown", "--recursive", "1000:1000", STORE)
        self.run("systemctl", "start", "registryd.socket", "registryd.service")
        self.expect_image("one")
        self.expect_owner(self.user())
        self.copy("oci:one", f"{IMAGE}:again")

    def calls(self):
        """Everything once more, where a system call that the unit forbids is the end of the process."""
        self.drop_in("strict", STRICT)
        write_image(self.machine.path("/root/three"), "three")
        self.copy("oci:three", f"{IMAGE}:three")
        self.run("skopeo", "delete", f"{IMAGE}:three")
        self.expect_image("one")
        # Not before: so short a grace takes blobs away that wait for their manifest.
        self.drop_in("collecting", COLLECTING)
        collected = lambda: sum(int(blobs) for blobs in re.findall(r" blobs=(\d+)", self.journal()))
        self.until(lambda: collected() >= 4, "a deleted image is not collected")
        self.run("systemctl", "stop", "registryd.socket", "registryd.service")
        ended = self.show("Result", "ExecMainStatus", "NRestarts")
        expect(ended == "success\n0\n0", f"a system call is forbidden that it makes: {ended}\n{self.journal()}")

    # --- what the steps have in common ---

    def drop_in(self, name, text):
        path = self.machine.path(f"/etc/systemd/system/registryd.service.d/{name}.conf")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "restart", "registryd.service")

    def until(self, condition, otherwise):
        end = time.monotonic() + PATIENCE
        while not condition():
            expect(time.monotonic() < end, f"{otherwise}\n{self.journal()}")
            time.sleep(0.1)

    def expect_ready(self, word):
        # With Type=notify, active means that it said so.
        found = self.show("Type", "ActiveState", "SubState")
        expect(found == "notify\nactive\nrunning", f"the service is {found}\n{self.journal()}")
        expect(word in self.journal(), f"no {word!r} in its log:\n{self.journal()}")

    def expect_image(self, name):
        self.run("rm", "-rf", "pulled")
        self.copy(f"{IMAGE}:{name}", "oci:pulled:it")
        index = json.loads(self.machine.path("/root/pulled/index.json").read_text())
        expect(index["manifests"][0]["digest"] == self.images[name], f"{name} is another image")

    def expect_owner(self, user):
        where = self.run("readlink", "-f", STORE).stdout.strip()
        expect(where == "/var/lib/private/registryd", f"{STORE} is {where}")
        others = self.run("find", where, "!", "-user", user, "-ls").stdout
        expect(not others, f"not of {user}:\n{others}")
        mode = self.run("stat", "-c", "%a", where).stdout.strip()
        expect(mode == "700", f"{where} has mode {mode}")

    def user(self):
        return self.run("stat", "-c", "%u", f"/proc/{self.show('MainPID')}").stdout.strip()

    def show(self, *properties):
        options = [f"--property={name}" for name in properties]
        said = self.run("systemctl", "show", *options, "registryd.service").stdout
        found = dict(line.split("=", 1) for line in said.splitlines())
        return "\n".join(found[name] for name in properties)

    def journal(self, *words):
        said = self.run("journalctl", "--no-pager", "--output=cat", "--unit=registryd.service").stdout
        return "\n".join(line for line in said.splitlines() if all(word in line for word in words))

    def login(self, user, password, check=True):
        return self.run(
            "skopeo", "login", "--username", user, "--password-stdin", f"{HOST}:5000", input=password, check=check
        )

    def copy(self, source, destination, check=True):
        return self.run("skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", source, destination, check=check)


def write_image(directory, name):
    """An OCI layout of one image with a small layer and a large one; its manifest's digest."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(media_type, content):
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(content)}

    layers = [random.Random(f"{name} {size}").randbytes(size) for size in LAYERS]
    config = {
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", json.dumps(config).encode()),
        "layers": [blob("layer.v1.tar", layer) for layer in layers],
    }
    listed = blob("manifest.v1+json", json.dumps(manifest).encode())
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
    return listed["digest"]


def expect(condition, said):
    if not condition:
        raise MachineError(said)


if __name__ == "__main__":
    sys.exit(main())
