#!/usr/bin/env python3
"""The JSON Schema of the configuration (`registryd config schema`) is one, and it takes what the program
takes: the sample files in crates/registryd/tests/config, and the effective configurations they make. What
it should refuse, it refuses.

    config_schema.py REGISTRYD
"""

import json
import os
import pathlib
import subprocess
import sys

import jsonschema
import yaml

SAMPLES = pathlib.Path("crates/registryd/tests/config")


def main():
    registryd = sys.argv[1]
    schema = json.loads(run([registryd, "config", "schema"]))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    problems = []
    valid, refused = sorted(SAMPLES.glob("valid/*.yml")), sorted(SAMPLES.glob("refused/*.yml"))
    for path in valid:
        shown = [registryd, "config", "show", "--effective", "--json", str(path)]
        effective = json.loads(run(shown, variables(path)))
        for what, document in ("file", yaml.safe_load(path.read_text())), ("effective", effective):
            for error in validator.iter_errors(document):
                where = ".".join(map(str, error.absolute_path))
                problems.append(f"{path}, {what}: `{where}`: {error.message[:200]}")
    for path in refused:
        if validator.is_valid(yaml.safe_load(path.read_text())):
            problems.append(f"{path} is valid, but the program refuses it")
    for problem in problems:
        print(f"config schema: {problem}")
    print(f"config schema: {len(valid)} valid and {len(refused)} refused files, {len(problems)} problems")
    return 1 if problems or not valid or not refused else 0


def variables(path):
    """The lines of the file of variables beside `path`, if there is one."""
    beside = path.with_suffix(".env")
    lines = beside.read_text().splitlines() if beside.exists() else []
    return dict(line.split("=", 1) for line in lines)


def run(command, more=None):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=plain | (more or {}))
    return done.stdout.decode()


if __name__ == "__main__":
    sys.exit(main())
