"""What REDbot and httplint say of answers, of guests and of the host itself. A note that warns is a check that fails."""

import json
import subprocess
import sys
import time

from httplint import HttpResponseLinter

from server import Connection, Cut

# Answers of the longpoll example and of the host in front of it, each on a connection of its own.
ANSWERS = {
    "an event": ("GET", "GET /poll/lint?wait=5 HTTP/1.1\r\nhost: foreign\r\n\r\n"),
    "no event": ("GET", "GET /poll/none?wait=0 HTTP/1.1\r\nhost: foreign\r\n\r\n"),
    "a push": ("POST", "POST /push/more HTTP/1.1\r\nhost: foreign\r\ncontent-length: 1\r\n\r\nx"),
    "HEAD": ("HEAD", "HEAD /poll/none?wait=0 HTTP/1.1\r\nhost: foreign\r\n\r\n"),
    "another method": ("POST", "POST /poll/none HTTP/1.1\r\nhost: foreign\r\ncontent-length: 1\r\n\r\nx"),
    "no such path": ("GET", "GET /nothing HTTP/1.1\r\nhost: foreign\r\n\r\n"),
    "no such route": ("GET", "GET /nothing HTTP/1.1\r\nhost: elsewhere\r\n\r\n"),
    "a method that no route has": ("DELETE", "DELETE /poll/none HTTP/1.1\r\nhost: foreign\r\n\r\n"),
    "no HTTP": ("GET", "hello\r\n\r\n"),
    "a head too large": ("GET", f"GET / HTTP/1.1\r\nhost: foreign\r\nx: {'x' * 300_000}\r\n\r\n"),
    "too many headers": ("GET", "GET / HTTP/1.1\r\nhost: foreign\r\n" + "x: y\r\n" * 1_000 + "\r\n"),
    "an unknown coding": ("POST", "POST /push/q HTTP/1.1\r\nhost: foreign\r\ntransfer-encoding: gzip\r\n\r\n"),
    "a broken chunk": (
        "POST",
        "POST /push/q HTTP/1.1\r\nhost: foreign\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n\r\n",
    ),
    "a target that is none": ("GET", "GET nothing HTTP/1.1\r\nhost: foreign\r\n\r\n"),
    "another version": ("GET", "GET / HTTP/3.0\r\nhost: foreign\r\n\r\n"),
}

CONFIGURATION = """
[apps.longpoll]
component = "{longpoll}"
[[routes]]
app = "longpoll"
host = "foreign"
methods = ["GET", "HEAD", "POST"]
"""


def httplint(server):
    """Gives for each check its name, whether it passes, and what came."""
    with Connection(server.address) as connection:
        connection.send(b"POST /push/lint HTTP/1.1\r\nhost: foreign\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nevent")
        connection.answer()
    for name, (method, request) in ANSWERS.items():
        with Connection(server.address) as connection:
            connection.send(request.encode())
            try:
                status, head, body = connection.answer(bodiless=method == "HEAD")
            except Cut:
                yield f"{name}: an answer", False, "none"
                continue
        yield f"{name}: an answer", True, str(status)
        for note in lint(method, head, body):
            # What a status means is asked for.
            if type(note).__name__.startswith("STATUS_"):
                continue
            yield (f"{name}: {note.subject}: {type(note).__name__}", *verdict(note.level.value, str(note)))


def lint(method, head, body):
    line, _, fields = head.partition(b"\r\n")
    version, status, phrase = (line.split(b" ", 2) + [b""])[:3]
    linter = HttpResponseLinter(start_time=time.time(), no_content=method == "HEAD")
    linter.is_head_response = method == "HEAD"
    linter.process_response_topline(version, status, phrase)
    linter.process_headers([tuple(field.split(b":", 1)) for field in fields.split(b"\r\n") if field])
    linter.feed_content(body)
    linter.finish_content(True)
    return linter.notes


def redbot(server, paths):
    """The same by REDbot, which asks each resource in several ways."""
    for path in paths:
        command = [sys.executable, __file__, server.url + path]
        said = subprocess.run(command, check=True, text=True, capture_output=True, timeout=120).stdout
        for subject, name, level, summary in json.loads(said):
            yield (f"{path}: {subject}: {name}", *verdict(level, summary))


def verdict(level, summary):
    return level in ("good", "info"), f"{level}: {summary}"


def look(url):
    """One run of REDbot. Its loop is the process's."""
    import thor
    from configparser import ConfigParser
    from redbot.resource import HttpResource

    config = ConfigParser()
    config.read_dict({"redbot": {"enable_local_access": "True"}})
    resource = HttpResource(config["redbot"])
    resource.set_request(url)
    notes = []

    @thor.events.on(resource)
    def check_done():
        for fetched in [resource, *resource.subreqs.values()]:
            notes.extend(fetched.response.notes)
        thor.stop()

    resource.check()
    thor.run()
    print(json.dumps([(note.subject, type(note).__name__, note.level.value, str(note)) for note in notes]))


if __name__ == "__main__":
    look(sys.argv[1])
