"""What a handler sees, whichever WASI it is built for."""

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl


@dataclass
class Response:
    """The answer to a request: its status, the body, and headers."""

    status: int = 200
    body: bytes | str = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, text: str, status: int = 200, headers: dict[str, str] | None = None) -> "Response":
        """Plain text."""
        return cls(status, text, {"content-type": "text/plain; charset=utf-8", **(headers or {})})

    def content(self) -> bytes:
        """The body as bytes."""
        return self.body.encode() if isinstance(self.body, str) else self.body

    def fields(self) -> list[tuple[str, bytes]]:
        """The headers as WASI has them."""
        return [(name, value.encode("latin-1", "replace")) for name, value in self.headers.items()]


class Request:
    """A request. What the bindings have of it is fetched when it is asked for."""

    def __init__(self, method: Any, target: str | None, header: Callable[[str], list[bytes]], read: "Read") -> None:
        self.method = _method(method)
        """`GET` and the like."""
        path, _, query = (target or "/").partition("?")
        self.path = path or "/"
        """As it was sent: still percent-encoded."""
        self._query, self._header, self._read = query, header, read

    def query(self, name: str) -> str | None:
        """The first query parameter of this name, decoded."""
        pairs = parse_qsl(self._query, keep_blank_values=True)
        return next((value for key, value in pairs if key == name), None)

    def header(self, name: str) -> str | None:
        """The header of this name, in any case. One in several lines is one with commas between them."""
        values = self._header(name)
        return b", ".join(values).decode("latin-1") if values else None

    async def body(self, limit: int) -> bytes:
        """All of the body, once. One with more bytes than this is answered with 413, and one that broke off with 400."""
        return await self._read(limit)


Read = Callable[[int], Awaitable[bytes]]


def _method(method: Any) -> str:
    """The bindings have a class for each method, and one for all others."""
    return getattr(method, "value", None) or type(method).__name__.removeprefix("Method_").upper()


class HTTPError(Exception):
    """Raised, it is the answer: a sentence that says why there is no other."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.response = Response.text(f"{sentence}\n", status, headers)


def too_large(limit: int) -> HTTPError:
    """The answer to a body over the limit."""
    return HTTPError(413, f"the body is larger than {limit} bytes")


def broken() -> HTTPError:
    """The answer to a body that broke off."""
    return HTTPError(400, "the request body broke off")


class EventError(Exception):
    """A queue or a topic refused. `kind` is the case of `event-error` in WIT, as `over-limit`, and `value` what it holds."""

    def __init__(self, kind: str, value: Any = None) -> None:
        super().__init__(_sentence(kind, value))
        self.kind, self.value = kind, value


class Cancelled(EventError):
    """Nobody waits for the answer any more, or somebody wants it at once: `value` is the reason, as `shutdown`."""


def event_error(error: Any) -> EventError:
    """The exception for an error of the bindings."""
    kind = _kebab(type(error).__name__.removeprefix("EventError_"))
    value = getattr(error, "value", None)
    # A limit or a reason; the size of an event is a number.
    value = name(value) if hasattr(value, "name") else value
    return Cancelled(kind, value) if kind == "cancelled" else EventError(kind, value)


def name(value: Any) -> str:
    """The name in WIT of a value of an enum."""
    return str(value.name).lower().replace("_", "-")


def _kebab(camel: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in camel).removeprefix("-")


def _sentence(kind: str, value: Any) -> str:
    match kind, value:
        case "invalid-name", _:
            return "a name is 1 to 128 letters, digits, '-', '_' or '.', starting with a letter or a digit"
        case "invalid-content-type", _:
            return "a content type is at most 256 bytes that a header can hold"
        case "invalid-cursor", _:
            return "a cursor is one that the topic gave"
        case "too-large", limit:
            return f"an event is at most {limit} bytes"
        case "over-limit", "events":
            return "the queue holds as many events as the host allows"
        case "over-limit", "bytes":
            return "the queue holds as many bytes as the host allows"
        case "over-limit", "waiters":
            return "as many wait for an event here as the host allows"
        case "over-limit", "total-bytes":
            return "all queues, or all topics, together hold as many bytes as the host allows"
        case "over-limit", "names":
            return "there are as many queues, or topics, as the host allows"
        case "over-limit", _:
            return "the request holds as many deliveries as the host allows"
        case "cancelled", reason:
            return f"the request is over: {reason}"
        case "settled", _:
            return "the delivery was settled before"
        case _:
            return "the store is unavailable"


@dataclass
class Delivery:
    """An event of a queue, which is this request's until its end. Who did not get the answer did not get the event either."""

    id: str
    data: bytes
    content_type: str
    attempt: int
    """How often it has been taken, this time included."""
    maybe_delivered: bool
    """Whether an earlier client may have got it."""

    @classmethod
    def of(cls, delivery: Any) -> "Delivery":
        """What the bindings have of it. From here on it is seen: to drop it gives nothing back."""
        return cls(
            event_id(delivery.id()),
            delivery.data(),
            delivery.content_type() or "application/octet-stream",
            delivery.attempt(),
            delivery.maybe_delivered(),
        )


def event_id(id: Any) -> str:
    """An id as it is written."""
    return f"{id.epoch:08x}-{id.number}"


@dataclass
class Event:
    """An event of a topic."""

    cursor: str
    data: bytes
    content_type: str


@dataclass
class Batch:
    """Events of a topic, at least one, and where to read on."""

    events: list[Event]
    next: str
    missed: int
    restarted: bool

    @classmethod
    def of(cls, batch: Any) -> "Batch":
        """What the bindings have of it."""
        events = [
            Event(event.cursor(), event.data(), event.content_type() or "application/octet-stream") for event in batch.events
        ]
        return cls(events, batch.next, batch.missed, batch.restarted)


def nanoseconds(seconds: float) -> int:
    """A time as WASI counts it."""
    return int(seconds * 1e9)


def optional_nanoseconds(seconds: float | None) -> int | None:
    """The same, if there is one."""
    return None if seconds is None else nanoseconds(seconds)


Handle = Callable[[Request], Awaitable[Response]]


async def answer(handle: Handle, request: Request) -> Response:
    """The handler's answer, or the one that it raised. A mistake of the handler goes to the log, and is a 500."""
    try:
        return await handle(request)
    except HTTPError as error:
        return error.response
    except Exception:
        traceback.print_exc()
        return Response.text("Internal Server Error\n", 500)
