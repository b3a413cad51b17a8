#!/usr/bin/env python3
"""Each package with no feature, and with each of its features alone, passes clippy.

Only libraries and binaries: development dependencies would switch features on.
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
