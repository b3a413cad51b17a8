"""A machine of which systemd is process 1, in namespaces and a cgroup of its own.

It sees this machine's /usr, read-only, an empty network, and nothing else of it. That needs root, Linux with cgroup2, and
systemd itself; what is missing is an error and never a reason to do less.
"""

import os
import pathlib
import signal
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).parent
PATIENCE = 120
NAMESPACES = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"]

# $1 is an empty directory, $2 the name of a cgroup below our own, $3 what to do with it.
CGROUP = """
set -eu
mount -t cgroup2 cgroup2 "$1"
cgroup=$1$(sed -n 's/^0:://p' /proc/self/cgroup)/$2
case $3 in
    enter) mkdir "$cgroup"; echo $$ >"$cgroup/cgroup.procs"; umount "$1"; shift 3; exec "$@" ;;
    remove) [ ! -d "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} + ;;
esac
"""


class Machine:
    """Booted when entered; when left, it is gone with everything that ran in it."""

    def __init__(self, program):
        self.program = program
        self.process = None

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory()
        root = pathlib.Path(self.directory.name)
        self.log = root / "log"
        self.root = root / "root"
        self.root.mkdir()
        try:
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process is not None:
            for pid in self.children() or [self.process.pid]:
                os.kill(pid, signal.SIGKILL)
            # It ends after process 1 has, and that after everything else in the machine.
            self.process.wait()
        subprocess.run(self.cgroup("remove"), check=False)
        self.directory.cleanup()

    def boot(self):
        unshare = ["unshare", *NAMESPACES, "--fork", HERE / "systemd_machine.sh", self.root, self.program]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.cgroup("enter", *unshare), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + PATIENCE
        state = ""
        # Degraded: a unit of another package does not start here.
        while state not in {"running", "degraded"}:
            if self.process.poll() is not None or time.monotonic() > end:
                raise MachineError(f"systemd does not boot here: it is {state or 'not there'}\n{self.log.read_text()}")
            time.sleep(0.1)
            if self.children():
                state = self.run("systemctl", "is-system-running", "--wait", check=False).stdout.strip()

    def cgroup(self, action, *command):
        name = f"systemd-machine-{os.getpid()}"
        shell = ["sh", "-c", CGROUP, "sh", self.root, name, action, *command]
        return ["unshare", "--mount", "--propagation=private", *shell]

    def children(self):
        """Process 1 of the machine, as this one numbers it."""
        pid = self.process.pid
        path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
        return [int(child) for child in path.read_text().split()] if path.exists() else []

    def run(self, *command, check=True, **options):
        """Runs a program of the machine in it, as its root."""
        done = subprocess.run(
            self.command(*command), capture_output=True, text=True, timeout=PATIENCE, check=False, **options
        )
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr).strip()
            raise MachineError(f"{' '.join(map(str, command))} … {done.returncode}\n{said}")
        return done

    def start(self, *command):
        """Starts a program of the machine in it; it reads and writes pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(*command), stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def path(self, path):
        """A file of the machine, as this one finds it."""
        [pid] = self.children()
        return pathlib.Path(f"/proc/{pid}/root{path}")

    def command(self, *command):
        [pid] = self.children()
        environment = ["HOME=/root", "LC_ALL=C.UTF-8", "PATH=/usr/local/bin:/usr/sbin:/usr/bin"]
        return ["nsenter", f"--target={pid}", "--all", "env", "-i", "--chdir=/root", *environment, *command]


class MachineError(Exception):
    """What was asked of the machine and did not happen."""
