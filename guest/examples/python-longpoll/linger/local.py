"""Queues and topics of this process, for tests with plain Python: `python3 -m unittest`. No time passes here."""

from collections import defaultdict, deque

from .types import Batch, Delivery, Event, Handle

_queues: defaultdict[str, deque[Delivery]] = defaultdict(deque)
_topics: defaultdict[str, list[Event]] = defaultdict(list)


def serve(handle: Handle) -> Handle:
    """The handler itself: a test calls it."""
    return handle


async def sleep(seconds: float) -> None:
    """Is over at once."""


class queue:
    """A queue: each event is for one taker."""

    def __init__(self, name: str) -> None:
        self._events = _queues[name]

    async def push(
        self, data: bytes, content_type: str | None = None, delay: float | None = None, time_to_live: float | None = None
    ) -> str:
        """Stores an event, and returns its id."""
        id = f"00000000-{len(self._events)}"
        self._events.append(Delivery(id, data, content_type or "application/octet-stream", 1, False))
        return id

    async def take(self, wait: float) -> Delivery | None:
        """The next event; None if there is none."""
        return self._events.popleft() if self._events else None


class topic:
    """A topic: each event is for all who read."""

    def __init__(self, name: str) -> None:
        self._events = _topics[name]

    async def publish(self, data: bytes, content_type: str | None = None) -> str:
        """Stores an event, and returns the cursor after it."""
        cursor = str(len(self._events) + 1)
        self._events.append(Event(cursor, data, content_type or "application/octet-stream"))
        return cursor

    async def end(self) -> str:
        """The cursor after the last event."""
        return str(len(self._events))

    async def read(self, after: str | None, limit: int, wait: float) -> Batch | None:
        """At most so many events after a cursor, or from the oldest; None if there is none."""
        begin = int(after or 0)
        events = self._events[begin : begin + limit]
        return Batch(events, events[-1].cursor, 0, False) if events else None
