"""WASI 0.3: many requests share an instance, and wait side by side."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from componentize_py_async_support import spawn
from componentize_py_types import Err, Result
from wit_world import exports
from wit_world.imports import cancellation, monotonic_clock, whole
from wit_world.imports import queue as queue_p3
from wit_world.imports import topic as topic_p3
from wit_world.imports import wasi_http_types as http
from wit_world.imports.linger_host_types import EventError

from .refusals import push_options, refusals, value
from .types import Batch, Cancelled, Delivery, Handle, Request, Response
from .types import answer, broken, event_id, name, nanoseconds, too_large

T = TypeVar("T")

SHORTEST, LONGEST = 0.1, 5.0
"""The pieces of a timer, each of which runs to its end, in seconds: see `_first`."""


def serve(handle: Handle) -> type[exports.Handler]:
    """The class that a component in WASI 0.3 has as `Handler`."""

    class Handler(exports.Handler):
        async def handle(self, request: http.Request) -> http.Response:
            return _response(await answer(handle, _request(request)))

    return Handler


def _request(request: http.Request) -> Request:
    async def read(limit: int) -> bytes:
        try:
            return await whole.body(request, limit)
        except Err as error:
            if isinstance(error.value, whole.BodyError_TooLarge):
                raise too_large(error.value.value) from None
            raise broken() from error

    return Request(request.get_method(), request.get_path_with_query(), request.get_headers().get, read)


def _response(response: Response) -> http.Response:
    try:
        return whole.respond(response.status, response.fields(), response.content())
    except Err as error:
        print("the response was refused:", error.value)
        return whole.respond(500, [], b"")


async def sleep(seconds: float) -> None:
    """Waits for so long. Raises `Cancelled` when the request is over before that."""
    await _first(seconds, None, lambda _: None)


async def _first(seconds: float, arriving: Coroutine[Any, Any, T] | None, too_late: Callable[[T], None]) -> T | None:
    """What arrives, or None after so many seconds. Raises `Cancelled` when the request is over before that.

    What was begun cannot be given up: componentize-py cancels no read, and traps when a task ends before its reads
    have. So each runs on by itself, and the task with it, for a while: they end with the request, but for the timer.
    That is one of pieces, so that it is not there much longer than there was a wait. What arrives too late is handed to
    `too_late`.
    """
    with cancellation.current() as current:
        cancelled = current.cancelled()
    first: asyncio.Future[Callable[[], T | None]] = asyncio.get_running_loop().create_future()

    def settle(outcome: Callable[[], T | None]) -> bool:
        if first.done():
            return False
        first.set_result(outcome)
        return True

    async def watch() -> None:
        reason = await cancelled.read()

        def over() -> None:
            raise Cancelled("cancelled", name(reason))

        settle(over)

    async def expire() -> None:
        left, piece = seconds, SHORTEST
        while left > 0 and not first.done():
            await monotonic_clock.wait_for(nanoseconds(min(left, piece)))
            left, piece = left - piece, min(2 * piece, LONGEST)
        settle(lambda: None)

    async def arrive(arriving: Coroutine[Any, Any, T]) -> None:
        arrived = await arriving
        if not settle(lambda: arrived):
            too_late(arrived)

    spawn(watch())
    spawn(expire())
    if arriving is not None:
        spawn(arrive(arriving))
    return (await first)()


class queue:
    """A queue: each event is for one taker."""

    def __init__(self, name: str) -> None:
        with refusals:
            self._queue = queue_p3.Queue.open(name)

    async def push(
        self, data: bytes, content_type: str | None = None, delay: float | None = None, time_to_live: float | None = None
    ) -> str:
        """Stores an event, and returns its id. Times are in seconds."""
        options = push_options(content_type, delay, time_to_live)
        with refusals:
            return event_id(await self._queue.push(data, options))

    async def take(self, wait: float) -> Delivery | None:
        """The next event; None if there is none for so many seconds. Raises `Cancelled` when the request is over before that."""
        taking = self._queue.take()
        taken: Result[queue_p3.Delivery, EventError] | None
        if isinstance(taking, queue_p3.Taking_Ready):
            taken = taking.value
        else:
            taken = await _first(wait, taking.value.read(), _give_back)
        if taken is None:
            return None
        with value(taken) as delivery:
            return Delivery.of(delivery)


def _give_back(taken: Result[queue_p3.Delivery, EventError]) -> None:
    """An event that nobody has seen returns to its queue when it is dropped."""
    if not isinstance(taken, Err):
        taken.value.__exit__(None, None, None)


class topic:
    """A topic: each event is for all who read."""

    def __init__(self, name: str) -> None:
        with refusals:
            self._topic = topic_p3.Topic.open(name)

    async def publish(self, data: bytes, content_type: str | None = None) -> str:
        """Stores an event, and returns the cursor after it."""
        return value(await self._topic.publish(data, content_type).read())

    async def end(self) -> str:
        """The cursor after the last event."""
        return value(await self._topic.end().read())

    async def read(self, after: str | None, limit: int, wait: float) -> Batch | None:
        """At most so many events after a cursor, or from the oldest; None if there is none for so many seconds.
        Raises `Cancelled` when the request is over before that."""
        batch = await _first(wait, self._topic.read(after, limit).read(), lambda _: None)
        return None if batch is None else Batch.of(value(batch))
