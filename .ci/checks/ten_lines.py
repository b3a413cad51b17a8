#!/usr/bin/env python3
"""The program in the README is at most ten lines, builds in a new crate and serves a registry.

The crate gets the dependencies that the README adds: ours by path, the others in the versions of
this workspace. The only thing changed is the port.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request

PATIENCE_SECONDS = 30


def main():
    root = pathlib.Path.cwd()
    readme = (root / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^<!-- ten-lines -->\n```rust\n(.*?)^```$", readme, re.M | re.S)
    added = re.findall(r"`cargo add ([^`]+)`", readme)
    if len(blocks) != 1 or len(added) != 1:
        return fail("README.md needs one rust block after `<!-- ten-lines -->` and one `cargo add …`")
    program = blocks[0]
    lines = [line for line in program.splitlines() if line.strip()]
    if len(lines) > 10:
        return fail(f"the program has {len(lines)} lines")
    port = free_port()
    program, replaced = re.subn(r"127\.0\.0\.1:5000", f"127.0.0.1:{port}", program)
    if replaced != 1:
        return fail("the program should listen on 127.0.0.1:5000, named once")

    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target")).resolve() / "ten-lines"
    with tempfile.TemporaryDirectory(prefix="ten-lines-") as directory:
        crate = pathlib.Path(directory)
        (crate / "src").mkdir()
        (crate / "src/main.rs").write_text(program, encoding="utf-8")
        (crate / "Cargo.toml").write_text(manifest(root, added[0].split()), encoding="utf-8")
        # The versions that everything else is tested with; cargo drops what it does not need.
        shutil.copy(root / "Cargo.lock", crate)
        subprocess.run(
            ["cargo", "build", "--quiet", "--target-dir", target], cwd=crate, check=True
        )
        with subprocess.Popen([target / "debug/ten-lines"], cwd=crate) as server:
            try:
                return probe(server, f"http://127.0.0.1:{port}", len(lines))
            finally:
                server.kill()


def manifest(root, words):
    """A manifest with what `cargo add` with these words would add."""
    versions = tomllib.loads((root / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["dependencies"]
    features = {}
    names = []
    words = iter(words)
    for word in words:
        if word == "--features":
            name, feature = next(words).split("/")
            features.setdefault(name, []).append(f'"{feature}"')
        else:
            names.append(word)
    text = '[package]\nname = "ten-lines"\nversion = "0.0.0"\nedition = "2024"\n\n[dependencies]\n'
    for name in names:
        source = versions[name]
        if isinstance(source, str):
            where = f'version = "{source}"'
        elif "path" in source:
            where = f'path = "{root / source["path"]}"'
        else:
            where = f'version = "{source["version"]}"'
        text += f"{name} = {{ {where}, features = [{', '.join(features.get(name, []))}] }}\n"
    return text + "\n[workspace]\n"


def probe(server, base, lines):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{base}/v2/", timeout=5) as answer:
                if answer.status != 200:
                    return fail(f"GET /v2/ was answered with {answer.status}")
                break
        except urllib.error.HTTPError as error:
            return fail(f"GET /v2/ was answered with {error.code}")
        except OSError as error:
            if server.poll() is not None:
                return fail(f"the program ended with {server.returncode}")
            if time.monotonic() > deadline:
                return fail(f"no answer in {PATIENCE_SECONDS} s: {error}")
            time.sleep(0.05)
    begin = urllib.request.Request(f"{base}/v2/ten/lines/blobs/uploads/", method="POST")
    with urllib.request.urlopen(begin, timeout=5) as answer:
        if answer.status != 202 or not answer.headers["Location"]:
            return fail(f"an upload was answered with {answer.status}")
    print(f"ten lines: {lines} lines serve a registry")
    return 0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fail(problem):
    print(f"ten lines: {problem}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
