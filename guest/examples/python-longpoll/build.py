#!/usr/bin/env python3
"""Builds the component: `python3 build.py`, or for WASI 0.2 `python3 build.py --wasi 0.2`.

The first time it makes a virtual environment in `.venv`, with what `requirements.txt` names.
"""

import argparse
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
BIN = VENV / ("Scripts" if sys.platform == "win32" else "bin")
REQUIREMENTS = HERE / "requirements.txt"
INSTALLED = VENV / "installed.txt"

WORLDS = {"0.3": "linger:host/handler", "0.2": "linger:host/handler-p2"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the component")
    parser.add_argument("--wasi", choices=WORLDS, default="0.3", help="which WASI to build for (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE / "app.wasm", help="where it goes (default: app.wasm)")
    arguments = parser.parse_args()
    install()
    run(
        BIN / "componentize-py", "--quiet", "--wit-path", "wit", "--world", WORLDS[arguments.wasi],
        "componentize", "--python-path", ".", "--output", arguments.out.absolute(), "app",
    )  # fmt: skip


def install() -> None:
    """Makes the tools be those that are asked for."""
    wanted = REQUIREMENTS.read_text()
    if INSTALLED.exists() and INSTALLED.read_text() == wanted:
        return
    venv.create(VENV, with_pip=True, clear=True)
    run(BIN / "python", "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS)
    INSTALLED.write_text(wanted)


def run(*command: str | Path) -> None:
    """Runs a command in this folder; where it fails, it has said why."""
    status = subprocess.run(command, cwd=HERE).returncode
    if status != 0:
        sys.exit(status)


if __name__ == "__main__":
    main()
