#!/usr/bin/env python3
"""Tries components that others made, and writes what came of it into docs/compatibility.md.

Give the linger binary. Guests in this folder are built, crates that carry components are fetched, and what `make guests` and
`make guests-other` built is taken where it is there. Fails if one does not do what the table below says of it.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENT = ROOT / "docs/compatibility.md"
BEGIN, END = "<!-- table: make compatibility -->\n", "<!-- end -->"
CRATES = {"wash-runtime": "0.1.0", "wac-types": "0.12.0"}
OWN, BUILT, FETCHED = "own", "built", "fetched"

# What made it; where it is from; its file; a path that it knows; what it answers, or why it cannot.
COMPONENTS = [
    ("Rust, `linger-guest` (the SDK)", OWN, "hello.wasm", "/", 200),
    ("Rust, `wasip3` 0.10", OWN, "plain-p3.wasm", "/", 200),
    ("Rust, `spin-sdk` 7", BUILT, "compat_spin.wasm", "/", 200),
    ("Rust, `wasi` 0.14", OWN, "plain-p2.wasm", "/", 200),
    ("Rust, `wstd` 0.6", BUILT, "compat_wstd.wasm", "/", 200),
    ("Python, componentize-py 0.25, 0.3", OWN, "python-longpoll.wasm", "/poll/q?wait=0", 204),
    ("Python, componentize-py 0.25, 0.2", OWN, "python-longpoll-p2.wasm", "/poll/q?wait=0", 204),
    ("JavaScript, componentize-js 0.23 (StarlingMonkey)", OWN, "js-longpoll-p2.wasm", "/poll/q?wait=0", 204),
    ("JavaScript, componentize-qjs 0.4 (QuickJS)", OWN, "js-hello.wasm", "/", 200),
    ("C, wit-bindgen 0.63 and the compiler of Zig 0.15, 0.2", OWN, "c-longpoll-p2.wasm", "/poll/q?wait=0", 204),
    ("JavaScript, Hono on StarlingMonkey (`wash-runtime`: component)", FETCHED, "component.wasm", "/", 200),
    ("Rust, wasmCloud (`wash-runtime`: http_blobstore)", FETCHED, "http_blobstore.wasm", "/", "wasi:blobstore"),
    ("Rust, wasmCloud (`wash-runtime`: http_counter)", FETCHED, "http_counter.wasm", "/", "wasi:keyvalue"),
    ("Go, TinyGo on wasmCloud (`wash-runtime`: blobby)", FETCHED, "blobby.wasm", "/", "wasi:blobstore"),
    ("Rust, wasmCloud (`wash-runtime`: cron_component)", FETCHED, "cron_component.wasm", "/", "no HTTP handler"),
    ("a stub of wasi:http 0.2.0, whose functions trap (`wac-types`)", FETCHED, "dummy_wasi_http@0.2.0.wasm", "/", 500),
    ("a stub of wasi:http 0.2.3, whose functions trap (`wac-types`)", FETCHED, "dummy_wasi_http@0.2.3.wasm", "/", 500),
]


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, capture_output=True, **options).stdout


def build():
    """Builds the guests of this folder. Gives where they are."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "compat"
    command = ["cargo", "build", "--release", "--locked", "--target", "wasm32-wasip2"]
    subprocess.run(command, check=True, cwd=HERE, env={**os.environ, "CARGO_TARGET_DIR": str(target)})
    return target / "wasm32-wasip2/release"


def fetch(folder):
    """Has cargo fetch the crates that carry components. Gives where those are, by name."""
    needs = "".join(f'{name} = {{ version = "={version}", default-features = false }}\n' for name, version in CRATES.items())
    (folder / "src").mkdir()
    (folder / "src/lib.rs").touch()
    (folder / "Cargo.toml").write_text(f'[package]\nname = "fetch"\nedition = "2024"\n[dependencies]\n{needs}')
    packages = json.loads(run("cargo", "metadata", "--format-version", "1", cwd=folder))["packages"]
    found = {}
    for package in packages:
        if CRATES.get(package["name"]) == package["version"]:
            tests = pathlib.Path(package["manifest_path"]).parent / "tests"
            found |= {file.name: file for file in tests.rglob("*.wasm")}
    return found


def check(linger, file):
    """The world of a component, and what of its imports is lacking."""
    said = subprocess.run([linger, "check", file], text=True, capture_output=True).stdout
    world = re.search(r"^world: +(.*)$", said, re.M).group(1)
    lacks = said.partition("missing:")[2].splitlines()
    if "no HTTP handler" in world:
        return "none", "no HTTP handler"
    names = sorted({line.strip().split("/")[0] for line in lacks[1:]})
    return re.search(r"WASI (\S+)\)", world).group(1), ", ".join(f"`{name}`" for name in names)


def ask(linger, file, path):
    """The status of an answer."""
    command = [linger, "serve", file, "--listen", "127.0.0.1:0"]
    server = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        url = server.stdout.readline().removeprefix("listening on ").strip()
        try:
            return urllib.request.urlopen(url + path, timeout=30).status
        except urllib.error.HTTPError as error:
            return error.code
    finally:
        server.terminate()
        server.wait()


def main(linger):
    built = build()
    rows, wrong = [], []
    with tempfile.TemporaryDirectory() as folder:
        fetched = fetch(pathlib.Path(folder))
    for made_with, source, name, path, expected in COMPONENTS:
        places = {OWN: ROOT / "target/components" / name, BUILT: built / name, FETCHED: fetched.get(name)}
        file = places[source]
        if file is None or not file.exists():
            print(f"skipped: {name} is not there")
            continue
        world, lacks = check(linger, file)
        status = None if lacks else ask(linger, file, path)
        says = f"cannot be served: {lacks}" if lacks else f"served: {status}"
        ok = str(expected) in lacks if isinstance(expected, str) else status == expected
        print(f"{'ok' if ok else 'WRONG'}: {name}: {says}")
        if not ok:
            wrong.append(name)
        rows.append(f"| {made_with} | {world} | {file.stat().st_size / 1e6:.1f} MB | {says} |\n")
    head = "| made with | WASI | size | |\n|---|---|---|---|\n"
    text = DOCUMENT.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    DOCUMENT.write_text(before + BEGIN + head + "".join(rows) + END + after)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
