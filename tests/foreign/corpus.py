"""The requests that gunicorn's parser is tested with: whether Linger takes them for what they are.

What is valid has to reach the guest with its method and its whole body, and the next request on the connection as well.
What is not is answered by an error or by the end of the connection, and nothing after it is taken for a request.
"""

import pathlib
import re

from gunicorn.config import Config
from gunicorn.util import split_request_uri

from server import Connection, Cut

# The corpus leaves Host out, which is an error of its own: with it, each request is tried for what it is about.
REQUEST_LINE = re.compile(rb"(?:\A(?:\r\n)*|(?<=\r\n\r\n))([^ \r\n]+ [^ \r\n]+ HTTP/1\.([01])\r\n)")
# Sent behind what is refused; the guest says by its method that it got it.
ANOTHER = b"ANOTHER / HTTP/1.1\r\nhost: foreign\r\n\r\n"


def run(server, folder):
    """Gives for each check its name, whether it passes, and what came."""
    for kind in ("valid", "invalid"):
        for file in sorted(pathlib.Path(folder, kind).glob("*.http")):
            requests = expected(file.with_suffix(".py"))
            requests = requests if isinstance(requests, list) else [requests]
            data = with_host(decode(file.read_bytes()), len(requests))
            passes, came = valid(server, data, requests) if kind == "valid" else invalid(server, data)
            yield f"{kind}/{file.stem}", passes, came


def decode(data):
    """Ends of lines are written out in these files."""
    data = data.replace(b"\n", b"")
    for written, means in ((b"\\r\\n", b"\r\n"), (b"\\0", b"\0"), (b"\\n", b"\n"), (b"\\t", b"\t")):
        data = data.replace(written, means)
    return re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), data)


def with_host(data, requests):
    def add(found):
        head = data[found.start() :].partition(b"\r\n\r\n")[0].lower()
        return found[0] if found[2] == b"0" or b"\nhost:" in head else found[0] + b"host: foreign\r\n"

    return REQUEST_LINE.sub(add, data, count=requests)


def expected(file):
    """The requests that gunicorn sees, or the error that it raises."""

    def uri(raw):
        return {"raw": raw, "parts": split_request_uri(raw)}

    said = {"uri": uri, "cfg": Config()}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), said)  # of the pinned distribution
    return said["request"]


def valid(server, data, requests):
    with Connection(server.address) as connection:
        connection.send(data)
        for number, request in enumerate(requests, 1):
            try:
                status, head, body = connection.answer(bodiless=request["method"] == "HEAD")
            except Cut:
                return False, f"no answer to request {number}"
            method = re.search(rb"\r\nx-method: ([^\r]*)", head)
            if status != 200:
                return False, f"{status} to request {number}"
            if not method or method[1].decode() != request["method"]:
                return False, f"another method in request {number}"
            if request["method"] != "HEAD" and body != (request["body"] or b""):
                return False, f"another body of request {number}"
        return True, "200"


def invalid(server, data):
    """An error or the end, and behind it nothing but what was sent behind it."""
    came = []
    with Connection(server.address) as connection:
        connection.send(data)
        connection.send(ANOTHER)
        try:
            while len(came) < 10:
                status, head, _ = connection.answer(timeout=2)
                came.append("the next one's" if b"\r\nx-method: ANOTHER" in head else str(status))
        except Cut:
            pass
    said = ", ".join(came) or "nothing"
    refused = bool(came and came[0] >= "4") or not came
    return refused and came[1:] in ([], ["the next one's"]), said
