#!/usr/bin/env python3
"""Each crate that is published passes clippy with no feature, and with each of its features alone.

Only libraries and binaries: development dependencies would switch features on. The packages of
tests and benches are seen by the step `clippy`.
"""

import json
import subprocess
import sys


def main():
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--no-deps"], check=True, stdout=subprocess.PIPE
    )
    runs = [
        (package["name"], feature)
        for package in json.loads(metadata.stdout)["packages"]
        if "/crates/" in package["manifest_path"]
        for feature in [None, *sorted(package["features"])]
    ]
    failed = []
    for package, feature in runs:
        features = [] if feature is None else ["--features", feature]
        print(f"features: {package} with {feature or 'none'}", flush=True)
        command = ["cargo", "clippy", "--quiet", "--package", package, "--no-default-features", *features,
                   "--", "-D", "warnings"]
        if subprocess.run(command).returncode != 0:
            failed.append(f"{package} with {feature or 'none'}")
    for run in failed:
        print(f"features: failed: {run}")
    print(f"features: {len(runs)} combinations, {len(failed)} failed")
    return 1 if failed or not runs else 0


if __name__ == "__main__":
    sys.exit(main())
