"""The smallest handler in Python for WASI 0.3, with nothing of Linger."""

import wit_world
from componentize_py_async_support import spawn
from componentize_py_async_support.streams import ByteStreamWriter
from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports import wasi_http_types as http

GREETING = b"Hello, world!\n"
HEADERS = [("content-type", b"text/plain"), ("content-length", str(len(GREETING)).encode())]


class Handler(exports.Handler):
    async def handle(self, request: http.Request) -> http.Response:
        writer, reader = wit_world.byte_stream()
        no_trailers = wit_world.result_option_wasi_http_types_fields_wasi_http_types_error_code_future(lambda: Ok(None))[1]
        response, sent = http.Response.new(http.Fields.from_list(HEADERS), reader, no_trailers)
        sent.__exit__(None, None, None)
        spawn(greet(writer))
        return response


async def greet(writer: ByteStreamWriter) -> None:
    with writer:
        await writer.write_all(GREETING)
