#!/usr/bin/env python3
"""Which crates show through the public interface of a library?

Reads rustdoc's JSON, walks every public item (hidden ones included) and names each crate whose
types or traits appear in a signature, field, variant, bound, alias, implementation or re-export.
A crate that is not on the library's list fails the check: whoever uses the library would be bound
to its version.

    public_api.py              check oci-core, oci-auth and oci-http with their default features
    public_api.py --self-test  check the check: a library full of leaks, each of which must be found
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

STANDARD = {"std", "core", "alloc"}

# `tower` stands for its traits, which live in tower_service and tower_layer; serde's traits live in
# serde_core.
ALLOWED = {
    "oci-registry-core": {
        "bytes", "futures_core", "http", "serde", "serde_core", "serde_json",
    },
    "oci-auth": {
        "bytes", "futures_core", "http", "oci_core",
    },
    "oci-http": {
        "bytes", "futures_core", "http", "http_body", "oci_core", "serde", "serde_core",
        "serde_json", "tower_layer", "tower_service",
    },
}


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    failed = False
    for package, allowed in ALLOWED.items():
        api = document(package, pathlib.Path.cwd())
        leaks = find_leaks(api, allowed | STANDARD)
        for leak in leaks:
            print(f"{package}: {leak}")
        print(f"{package}: {len(api['index'])} items read, {len(leaks)} leaks")
        failed |= bool(leaks)
    if failed:
        print("allow a crate in .ci/checks/public_api.py, or keep its types out of the interface")
    return 1 if failed else 0


def document(package, directory):
    """The rustdoc JSON of a package's library."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", directory / "target")) / "public-api"
    subprocess.run(
        ["cargo", "+nightly", "rustdoc", "--quiet", "--package", package, "--lib", "--target-dir", target,
         "--", "-Zunstable-options", "--output-format=json", "--document-hidden-items"],
        cwd=directory, check=True,
    )
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--no-deps"],
        cwd=directory, check=True, capture_output=True,
    )
    (library,) = [
        target["name"]
        for found in json.loads(metadata.stdout)["packages"] if found["name"] == package
        for target in found["targets"] if "lib" in target["kind"]
    ]
    with open(target / "doc" / f"{library.replace('-', '_')}.json", encoding="utf-8") as file:
        return json.load(file)


def find_leaks(api, allowed):
    """Sorted descriptions of every place where a crate shows that is not allowed."""
    walk = Walk(api, allowed)
    walk.item(api["root"], [])
    if len(walk.seen) < 2:
        raise SystemExit("public_api: the documentation holds no items; did its format change?")
    return sorted(walk.leaks)


class Walk:
    def __init__(self, api, allowed):
        self.index = api["index"]
        self.paths = api["paths"]
        self.crates = {int(key): value["name"] for key, value in api["external_crates"].items()}
        self.allowed = allowed
        self.seen = set()
        self.leaks = set()

    def item(self, key, path):
        """An item that is reachable from outside, under `path`."""
        item = self.index.get(str(key))
        if item is None:
            # Of another crate: re-exported.
            self.reference(key, path)
            return
        ((kind, inner),) = item["inner"].items()
        if kind == "use":
            if inner["id"] is None:
                return
            if self.is_ours(inner["id"]):
                self.item(inner["id"], path)
            else:
                self.reference(inner["id"], path + [f"use {inner['source']} as {inner['name']}"])
            return
        if kind == "extern_crate":
            self.report(inner["name"], path + [f"extern crate {inner['name']}"])
            return
        if key in self.seen:
            return
        self.seen.add(key)
        here = path + [item["name"]] if item["name"] else path
        if kind == "module":
            children = inner["items"]
        elif kind in ("struct", "enum", "union"):
            children = inner["impls"] + inner.get("variants", []) + inner.get("fields", [])
            shape = inner.get("kind")
            if isinstance(shape, dict):
                children += self.fields(shape)
        elif kind == "variant":
            children = self.fields(inner["kind"]) if isinstance(inner["kind"], dict) else []
        elif kind == "trait":
            children = inner["items"] + inner["implementations"]
        elif kind == "impl":
            # Every type has those of blankets and auto traits; nobody wrote them here.
            if inner["is_synthetic"] or inner["blanket_impl"] is not None:
                return
            if inner["trait"] is not None:
                here = path + [f"impl {inner['trait']['path']}"]
            children = inner["items"]
        else:
            children = []
        self.signature(inner, here)
        for child in children:
            if child is not None:
                self.item(child, here)

    def fields(self, shape):
        (value,) = shape.values()
        return list(value["fields"]) if isinstance(value, dict) else list(value)

    def signature(self, node, path):
        """Every type and trait that is named in `node`; items that it only points to come by id."""
        if isinstance(node, dict):
            if isinstance(node.get("path"), str) and isinstance(node.get("id"), int):
                self.reference(node["id"], path)
            for value in node.values():
                self.signature(value, path)
        elif isinstance(node, list):
            for value in node:
                self.signature(value, path)

    def is_ours(self, key):
        entry = self.paths.get(str(key))
        return entry["crate_id"] == 0 if entry else str(key) in self.index

    def reference(self, key, path):
        entry = self.paths.get(str(key))
        if entry is None or entry["crate_id"] == 0:
            return
        crate = self.crates[entry["crate_id"]]
        self.report(crate, path, "::".join(entry["path"]))

    def report(self, crate, path, what=""):
        if crate not in self.allowed:
            self.leaks.add(f"{'::'.join(path)} shows {crate}{': ' + what if what else ''}")


LEAKY = """
//! Each public item called leak… shows the runtime, none called fine… does.
mod inside {
    pub struct leak_in_private_module { pub field: runtime::Socket }
    pub struct fine_unreachable { pub field: runtime::Socket }
}
pub use inside::leak_in_private_module;
pub use runtime::Socket as leak_use;
pub mod leak_glob { pub use runtime::*; }
pub fn leak_argument(_: &[runtime::Socket]) {}
pub fn leak_return() -> impl Iterator<Item = Option<runtime::Socket>> { std::iter::empty() }
pub fn leak_bound<T: runtime::Spawn>(_: T) {}
pub fn leak_dyn(_: Box<dyn runtime::Spawn + Send>) {}
pub fn leak_projection<T>(_: T) where T: Iterator<Item = runtime::Socket> {}
pub fn leak_pointer(_: fn(runtime::Socket)) {}
pub type leak_alias = Vec<runtime::Socket>;
pub const leak_const: Option<runtime::Socket> = None;
pub static leak_static: Option<runtime::Socket> = None;
pub struct leak_field { pub socket: runtime::Socket }
pub struct leak_tuple(pub runtime::Socket);
pub enum leak_variant { Tuple(runtime::Socket) }
pub enum leak_struct_variant { Struct { socket: runtime::Socket } }
pub struct leak_impl;
impl From<runtime::Socket> for leak_impl { fn from(_: runtime::Socket) -> Self { Self } }
pub struct leak_trait_impl;
impl runtime::Spawn for leak_trait_impl {}
pub struct leak_method;
impl leak_method { pub fn method(&self, _: runtime::Socket) {} }
pub trait leak_supertrait: runtime::Spawn {}
pub trait leak_associated { type Of: runtime::Spawn; }
pub trait leak_foreign_implementation {}
impl leak_foreign_implementation for runtime::Socket {}
#[doc(hidden)]
pub fn leak_hidden(_: runtime::Socket) {}
pub struct fine_private_field { _socket: Option<runtime::Socket> }
pub struct fine_private_method;
impl fine_private_method { fn _method(&self, _: runtime::Socket) {} }
pub fn fine(_: &str) -> Vec<String> { let _ = runtime::Socket; Vec::new() }
fn _fine(_: runtime::Socket) {}
pub struct fine_std(pub std::sync::Arc<[u8]>);
impl Clone for fine_std { fn clone(&self) -> Self { Self(self.0.clone()) } }
"""


def self_test():
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for name, dependencies, text in [
            ("runtime", "", "pub struct Socket; pub trait Spawn {}"),
            ("leaky", '[dependencies]\nruntime = { path = "../runtime" }\n', "#![allow(warnings)]\n" + LEAKY),
        ]:
            (root / name / "src").mkdir(parents=True)
            manifest = f'[package]\nname = "{name}"\nversion = "0.0.0"\nedition = "2024"\n{dependencies}[workspace]\n'
            (root / name / "Cargo.toml").write_text(manifest, encoding="utf-8")
            (root / name / "src/lib.rs").write_text(text, encoding="utf-8")
        environment = os.environ.pop("CARGO_TARGET_DIR", None)
        try:
            api = document("leaky", root / "leaky")
        finally:
            if environment is not None:
                os.environ["CARGO_TARGET_DIR"] = environment
        leaks = find_leaks(api, STANDARD)
        allowed = find_leaks(api, STANDARD | {"runtime"})
    expected = set(re.findall(r"\bleak_\w+", LEAKY))
    found = set(re.findall(r"\bleak_\w+", "\n".join(leaks)))
    problems = [f"not found: {name}" for name in sorted(expected - found)]
    problems += [f"wrongly reported: {leak}" for leak in leaks if "fine" in leak]
    problems += [f"reported although allowed: {leak}" for leak in allowed]
    for problem in problems:
        print(f"public_api self-test: {problem}")
    print(f"public_api self-test: {len(expected)} leaks planted, {len(leaks)} places reported")
    return 1 if problems or not expected else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
