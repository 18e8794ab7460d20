"""WASI 0.2: an instance has one request at a time, so a wait blocks all of it."""

from collections.abc import Coroutine
from typing import Any

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import cancellation_p2, monotonic_clock, poll, queue_p2, topic_p2
from wit_world.imports import wasi_http_types as http
from wit_world.imports.streams import StreamError_Closed

from .refusals import push_options, refusals, value
from .types import Batch, Cancelled, Delivery, Handle, Request, Response
from .types import answer, broken, event_id, name, nanoseconds, too_large

CHUNK = 64 * 1024
"""How much one read asks for, in bytes."""


def serve(handle: Handle) -> type[exports.IncomingHandler]:
    """The class that a component in WASI 0.2 has as `IncomingHandler`."""

    class IncomingHandler(exports.IncomingHandler):
        def handle(self, request: http.IncomingRequest, response_out: http.ResponseOutparam) -> None:
            _send(_run(answer(handle, _request(request))), response_out)

    return IncomingHandler


def _run(coroutine: Coroutine[Any, Any, Response]) -> Response:
    """What is awaited here blocks, so there is nothing to come back to."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        response: Response = done.value
        return response
    raise RuntimeError("in WASI 0.2 a handler awaits only what the module `linger` has")


def _request(request: http.IncomingRequest) -> Request:
    async def read(limit: int) -> bytes:
        return _body(request, limit)

    return Request(request.method(), request.path_with_query(), request.headers().get, read)


def _body(request: http.IncomingRequest, limit: int) -> bytes:
    data = bytearray()
    with request.consume() as body, body.stream() as stream:
        while len(data) <= limit:
            try:
                data += stream.blocking_read(CHUNK)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return bytes(data)
                raise broken() from error
    raise too_large(limit)


def _send(response: Response, out: http.ResponseOutparam) -> None:
    """Blocks until the host has all of it, or nobody wants it any more."""
    content, fields = response.content(), response.fields()
    if response.status != 204:
        fields.append(("content-length", str(len(content)).encode()))
    outgoing = http.OutgoingResponse(http.Fields.from_list(fields))
    outgoing.set_status_code(response.status)
    body = outgoing.body()
    http.ResponseOutparam.set(out, Ok(outgoing))
    try:
        _write(body, content)
    except Err:
        return  # The client has left: the host knows.
    http.OutgoingBody.finish(body, None)


def _write(body: http.OutgoingBody, content: bytes) -> None:
    with body.write() as stream, stream.subscribe() as writable:
        while content:
            room = stream.check_write()
            if room == 0:
                writable.block()
            stream.write(content[:room])
            content = content[room:]
        stream.flush()


async def sleep(seconds: float) -> None:
    """Waits for so long. Raises `Cancelled` when the request is over before that."""
    _wait(seconds)


def _wait(seconds: float, *arrived: poll.Pollable) -> None:
    with cancellation_p2.current() as cancellation:
        with cancellation.subscribe() as cancelled, monotonic_clock.subscribe_duration(nanoseconds(seconds)) as timer:
            poll.poll([cancelled, timer, *arrived])
        reason = cancellation.reason()
    if reason is not None:
        raise Cancelled("cancelled", name(reason))


class queue:
    """A queue: each event is for one taker."""

    def __init__(self, name: str) -> None:
        with refusals:
            self._queue = queue_p2.Queue.open(name)

    async def push(
        self, data: bytes, content_type: str | None = None, delay: float | None = None, time_to_live: float | None = None
    ) -> str:
        """Stores an event, and returns its id. Times are in seconds."""
        options = push_options(content_type, delay, time_to_live)
        with refusals:
            return event_id(self._queue.push(data, options))

    async def take(self, wait: float) -> Delivery | None:
        """The next event; None if there is none for so many seconds. Raises `Cancelled` when the request is over before that."""
        with self._queue.take() as pending:
            with pending.subscribe() as arrived:
                _wait(wait, arrived)
            taken = pending.get()
        return None if taken is None else Delivery.of(value(taken))


class topic:
    """A topic: each event is for all who read."""

    def __init__(self, name: str) -> None:
        with refusals:
            self._topic = topic_p2.Topic.open(name)

    async def publish(self, data: bytes, content_type: str | None = None) -> str:
        """Stores an event, and returns the cursor after it."""
        with refusals:
            return self._topic.publish(data, content_type)

    async def end(self) -> str:
        """The cursor after the last event."""
        with refusals:
            return self._topic.end()

    async def read(self, after: str | None, limit: int, wait: float) -> Batch | None:
        """At most so many events after a cursor, or from the oldest; None if there is none for so many seconds.
        Raises `Cancelled` when the request is over before that."""
        with self._topic.read(after, limit) as pending:
            with pending.subscribe() as arrived:
                _wait(wait, arrived)
            batch = pending.get()
        return None if batch is None else Batch.of(value(batch))
