"""Runs the suites on Linger, and compares what came with results.tsv: what passed there has to pass. See run.sh."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import corpus
import lint
from server import Server

RESULTS = pathlib.Path(__file__).resolve().parent / "results.tsv"
HEAD = "# suite\tcheck\tresult\twhy it fails; written by: make foreign FOREIGN=--update\n"
# Its own default is 100 ms, which a machine under load does not keep.
FRAME_TIMEOUT_MS = "1500"


def httpwg(program, server):
    """Its tests run beside each other, each on a connection of its own, and say on standard error how they end."""
    command = [program, "--address", "%s:%d" % server.address, "--connect-timeout", "5000", "--frame-timeout", FRAME_TIMEOUT_MS]
    ran = subprocess.run(command, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, timeout=300)
    said = re.sub(r"\x1b\[[0-9;]*m", "", ran.stderr)
    for part in re.split(r"^.*?Test (?=passed|failed)", said, flags=re.MULTILINE)[1:]:
        verdict, name = re.match(r"(\w+): (.*)", part).groups()
        reason = re.search(r"^ *0: (.*)", part, re.MULTILINE)
        yield name, verdict == "passed", reason[1] if reason else ""


def smugglex(program, server):
    """Its checks tell by time and by statuses whether the end of a request is in doubt."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/found.json"
        command = [program, server.url + "/", "--output", file, "--timeout", "5", "--quiet", "--no-color"]
        command += ["--checks", "cl-te,te-cl,te-te,h2c,h2,cl-edge,cl-0,0-cl,parser-discrepancy"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=900)
        for check in json.load(open(file, encoding="utf-8"))["checks"]:
            yield check["check_type"], not check["vulnerable"], check.get("attack_status") or ""


def run(linger, components, requests, httpwg_program, smugglex_program):
    def serve(source):
        return Server(linger, components, source)

    with serve("echo") as server:
        yield from (("gunicorn", *result) for result in corpus.run(server, requests))
    with serve(lint.CONFIGURATION) as server:
        yield from (("httplint", *result) for result in lint.httplint(server))
    with serve("hello") as server:
        yield from (("redbot", *result) for result in lint.redbot(server, ["/", "/?name=Ada"]))
        greeted = list(httpwg(httpwg_program, server))
        yield from (("smugglex", *result) for result in smugglex(smugglex_program, server))
    # The suite wants a server that reads what it is sent, and has something to say: one guest does the one, one the other.
    # One that answers before it has read a body is done with the stream before the suite has done wrong in it.
    with serve("echo") as server:
        echoed = {name: passes for name, passes, _ in httpwg(httpwg_program, server)}
    for name, passes, came in greeted:
        yield "httpwg", name, passes or echoed.get(name, False), came


def known():
    """What results.tsv says: for each check its result, and why it fails."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {(row[0], row[1]): (row[2], row[3] if len(row) > 3 else "") for row in rows}


def main(arguments):
    update = "--update" in arguments
    expected, results, wrong, better = known(), {}, [], []
    for suite, check, passes, came in run(*[argument for argument in arguments if argument != "--update"]):
        # Of a check that runs several times, the worst counts.
        passes = passes and results.get((suite, check), (True, ""))[0]
        results[suite, check] = (passes, came)
    for key in sorted(expected.keys() | results.keys()):
        was, why = expected.get(key, (None, ""))
        passes, came = results.get(key, (None, "it was not run"))
        name = ": ".join(key)
        if passes is None or (not passes and was != "fails"):
            wrong.append(f"{name}: {came}")
        elif was != ("passes" if passes else "fails"):
            better.append(f"{name}: {came}")
        elif not passes:
            print(f"fails as it did: {name}: {came} ({why or 'nobody has said why'})")
    if update:
        rows = []
        for key, (passes, came) in sorted(results.items()):
            why = "" if passes else expected.get(key, ("", ""))[1] or f"? {came}"
            rows.append("\t".join([*key, "passes" if passes else "fails", why]).rstrip() + "\n")
        RESULTS.write_text(HEAD + "".join(rows), encoding="utf-8")
    for line in better:
        print(f"passes, and should be listed so (--update): {line}")
    for line in wrong:
        print(f"FAILS: {line}")
    for suite in dict.fromkeys(suite for suite, _ in results):
        own = [passes for (of, _), (passes, _) in results.items() if of == suite]
        print(f"{suite}: {sum(own)} of {len(own)} pass")
    return 1 if wrong and not update else 0


if __name__ == "__main__":
    sys.exit(main([os.path.abspath(argument) if os.path.exists(argument) else argument for argument in sys.argv[1:]]))
