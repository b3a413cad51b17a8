#!/usr/bin/env python3
"""Dependencies between our crates, how many others the libraries bring, and the Rust they need.

Reads `cargo metadata` and `cargo tree` and changes nothing. docs/dependencies.md explains the
budgets.
"""

import collections
import json
import subprocess
import sys

# A library knows these of ours, by any kind of dependency but a development one, and nothing else.
ARROWS = {
    "oci-registry-core": set(),
    "oci-auth": {"oci-registry-core"},
    "oci-http": {"oci-registry-core"},
    "oci-storage": {"oci-registry-core"},
    "registryd": {"oci-auth", "oci-http", "oci-registry-core", "oci-storage"},
}

# In tests a library may also use these of ours, with whatever features.
ARROWS_IN_TESTS = {
    "oci-registry-core": {"oci-registry-core"},
    "oci-auth": {"oci-auth", "oci-registry-core"},
    "oci-http": {"oci-http", "oci-registry-core"},
    "oci-storage": {"oci-registry-core", "oci-storage"},
    "registryd": {"registryd", "oci-auth", "oci-http", "oci-registry-core", "oci-storage", "registry-conformance"},
}

# Packages that put the crates together: tests, examples, benches.
HOSTS = {
    "protocol-models", "registry-benches", "registry-compare", "registry-conformance",
    "registry-counts", "registry-crash-tests", "registry-e2e", "registry-examples",
    "registry-guides", "registry-instruction-benches", "registry-load-driver",
    "registry-object-storage-tests", "xtask",
}

# (package, cargo tree's feature arguments, the most crates beside itself, proc macros not counted)
BUDGETS = [
    ("oci-registry-core", [], 26),
    ("oci-http", [], 40),
    ("oci-storage", ["--no-default-features", "--features=filesystem"], 45),
]


def main():
    metadata = json.loads(run("cargo", "metadata", "--format-version=1", "--all-features"))
    packages = {package["id"]: package for package in metadata["packages"]}
    members = {packages[key]["name"]: packages[key] for key in metadata["workspace_members"]}
    problems = [*arrows(members), *budgets(), *rust_versions(metadata, packages, members)]
    for problem in problems:
        print(f"crates: {problem}")
    return 1 if problems else 0


def arrows(members):
    checked = 0
    for name, package in sorted(members.items()):
        if name not in ARROWS:
            if name not in HOSTS:
                yield f"{name} is new: add it to ARROWS or HOSTS in .ci/checks/crates.py"
            continue
        for dependency in package["dependencies"]:
            if dependency["name"] not in members:
                continue
            in_tests = dependency["kind"] == "dev"
            allowed = ARROWS_IN_TESTS[name] if in_tests else ARROWS[name]
            checked += 1
            if dependency["name"] not in allowed:
                yield f"{name} must not depend on {dependency['name']}{' in tests' if in_tests else ''}"
    for name in ARROWS:
        if name not in members:
            yield f"{name} is not in the workspace any more"
    print(f"crates: {checked} arrows between our crates")


def budgets():
    for package, features, most in BUDGETS:
        tree = run(
            "cargo", "tree", "--package", package, "--edges=normal,no-proc-macro", "--prefix=none",
            "--format={p}", *features,
        )
        # A crate that was listed before comes again with a mark.
        crates = {line.removesuffix("(*)").strip() for line in tree.splitlines() if line.strip()}
        crates = {crate for crate in crates if crate.split()[0] != package}
        print(f"crates: {package} brings {len(crates)} crates, of {most} it may")
        if len(crates) > most:
            yield f"{package} brings {len(crates)} crates, more than {most}: {', '.join(sorted(crates))}"


def rust_versions(metadata, packages, members):
    """What our packages need at run or build time compiles with the Rust that they state.

    Development dependencies do not count: they never reach a user.
    """
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    stated = {package["rust_version"] for package in members.values()}
    if len(stated) != 1 or None in stated:
        yield f"the packages of the workspace state different rust-versions: {stated}"
        return
    (ours,) = stated
    queue = collections.deque(members[name]["id"] for name in ARROWS if name in members)
    seen = set(queue)
    while queue:
        for dependency in nodes[queue.popleft()]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if dependency["pkg"] not in seen and kinds & {None, "build"}:
                seen.add(dependency["pkg"])
                queue.append(dependency["pkg"])
    for key in sorted(seen):
        theirs = packages[key]["rust_version"]
        if theirs is not None and number(theirs) > number(ours):
            yield f"{packages[key]['name']} {packages[key]['version']} needs Rust {theirs}, we state {ours}"
    print(f"crates: {len(seen)} packages are for Rust {ours} or older, or do not say")


def number(version):
    return tuple(int(part) for part in version.split("-")[0].split("."))


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
