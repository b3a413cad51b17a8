#!/usr/bin/env python3
"""Rules of this repository that no linter knows.

* A source file has at most 700 lines that are not tests.
* No test is ignored, nothing is left to do by a panic.
* Every package takes the workspace's lints.
* Links in documents lead to files that exist, and nothing leads out of the repository or to a
  directory of somebody's machine.
"""

import pathlib
import re
import subprocess
import sys

MOST_LINES = 700

# Rust files that are tests as a whole.
TESTS = re.compile(r"(^|/)(tests|testkit|benches|fuzz_targets)(/|\.rs$)")

FORBIDDEN_IN_RUST = {
    r"#\[ignore\b": "an ignored test; run it, or delete it",
    r"\b(todo|unimplemented)!": "unfinished code",
}

# Home directories and checkouts; `/root` inside a container image or a registry volume is another.
MACHINE = re.compile(r"(?<![\w./-])/(home/\w+|work|Users/\w+)/[\w.-]+")
UPWARDS = re.compile(r"(?<![\w./%-])((?:\.\./)+[\w][\w./-]*)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|^\[[^\]]+\]: (\S+)", re.M)


def main():
    root = pathlib.Path.cwd()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, stdout=subprocess.PIPE,
    )
    names = sorted(name for name in listed.stdout.decode().split("\0") if name and (root / name).is_file())
    problems = []
    for name in names:
        try:
            text = (root / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        problems += check(root, name, text)
    for problem in problems:
        print(f"house rules: {problem}")
    print(f"house rules: {len(names)} files, {len(problems)} problems")
    return 1 if problems or not names else 0


def check(root, name, text):
    lines = text.splitlines()
    if name.endswith(".rs"):
        count = len(code(lines))
        if count > MOST_LINES and not TESTS.search(name):
            yield f"{name}: {count} lines that are not tests, more than {MOST_LINES}; split it"
        for number, line in enumerate(lines, 1):
            for pattern, reason in FORBIDDEN_IN_RUST.items():
                if re.search(pattern, line.split("//")[0]):
                    yield f"{name}:{number}: {reason}"
    if name.endswith("Cargo.toml") and name != "Cargo.toml" and not name.startswith("fuzz/"):
        if not re.search(r"^\[lints\]\nworkspace = true$", text, re.M):
            yield f"{name}: no `[lints] workspace = true`"
    if name.endswith(".md"):
        for match in LINK.finditer(text):
            target = match.group(1) or match.group(2)
            if ":" not in target and not ((root / name).parent / target).exists():
                number = text.count("\n", 0, match.start()) + 1
                yield f"{name}:{number}: the link `{target}` leads nowhere"
    for number, line in enumerate(lines, 1):
        if MACHINE.search(line):
            yield f"{name}:{number}: a path of somebody's machine: {line.strip()[:100]}"
        # In Rust code such paths are test input; in its comments they are references.
        if name.endswith(".rs"):
            line = line.partition("//")[2]
        for match in UPWARDS.finditer(line):
            target = ((root / name).parent / match.group(1)).resolve()
            # Scripts go up from wherever they stand; what they reach is inside.
            if not target.is_relative_to(root.resolve()):
                yield f"{name}:{number}: `{match.group(1)}` leads out of the repository"


def code(lines):
    """The lines before the unit tests at the end of a file."""
    for number, line in enumerate(lines):
        if line == "#[cfg(test)]" and lines[number + 1 : number + 2] == ["mod tests {"]:
            return lines[:number]
    return lines


if __name__ == "__main__":
    sys.exit(main())
