"""The smallest handler in Python for WASI 0.2, with nothing of Linger."""

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports import types as http

GREETING = b"Hello, world!\n"
HEADERS = [("content-type", b"text/plain"), ("content-length", str(len(GREETING)).encode())]


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: http.IncomingRequest, response_out: http.ResponseOutparam) -> None:
        response = http.OutgoingResponse(http.Fields.from_list(HEADERS))
        body = response.body()
        http.ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            stream.blocking_write_and_flush(GREETING)
        http.OutgoingBody.finish(body, None)
