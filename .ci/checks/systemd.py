#!/usr/bin/env python3
"""What lies in deploy/systemd, by systemd's own tools.

    systemd.py PROGRAM      PROGRAM is registryd

* `systemd-analyze verify` finds nothing to say about the units, and is seen to find a directive that is misspelt.
* `systemd-analyze security` calls the service's exposure OK.
* `systemd-socket-activate` hands a socket over, and the program serves on it instead of its configured port.

What systemd does as process 1 is looked at by systemd_boot.py.
"""

import http.client
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

UNITS = pathlib.Path(__file__).parents[2] / "deploy" / "systemd"
# Ten times what systemd shows; it calls less than 2.0 OK.
EXPOSURE = 20
PATIENCE = 60


def main():
    program = pathlib.Path(sys.argv[1]).absolute()
    problems = []
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        problems += verify(root / "units", lambda text: text)
        if not verify(root / "broken", lambda text: text.replace("ProtectSystem=", "ProtectSytem=")):
            problems.append("systemd-analyze does not see a directive that is misspelt")
        problems += exposure()
        problems += activate(program, root)
    for problem in problems:
        print(f"systemd: {problem}")
    print(f"systemd: {len(problems)} problems")
    return 1 if problems else 0


def verify(root, change):
    """The units as they would be installed below `root`, with a program where they expect it."""
    units = root / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for path in sorted(UNITS.glob("registryd.*")):
        (units / path.name).write_text(change(path.read_text()))
    program = root / "usr" / "local" / "bin" / "registryd"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    names = [f"/etc/systemd/system/{path.name}" for path in sorted(units.iterdir())]
    command = ["systemd-analyze", "verify", f"--root={root}", "--recursive-errors=no", "--man=no", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).strip()
    return [f"systemd-analyze verify: {said or done.returncode}"] if said or done.returncode else []


def exposure():
    unit = UNITS / "registryd.service"
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    return [f"systemd-analyze security: {(done.stdout + done.stderr).strip().splitlines()[-1]}"]


def activate(program, root):
    config = root / "config.yml"
    # Nobody may listen on port 1 here but root, and nobody does.
    config.write_text("version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:1'}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = root / "log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
    with log.open("w") as output:
        command = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", program, "serve", config]
        running = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        status = ask(port, running)
    finally:
        running.terminate()
        code = running.wait(PATIENCE)
    said = log.read_text()
    if status != 200 or code != 0 or "a socket was handed over" not in said:
        return [f"socket activation: status {status}, exit code {code}\n{said}"]
    return []


def ask(port, running):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and running.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status
        except ConnectionError:
            # Not yet; a connection that was taken waits for the program.
            time.sleep(0.05)
        finally:
            connection.close()
    return None


if __name__ == "__main__":
    sys.exit(main())
