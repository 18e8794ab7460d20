"""What Linger gives a handler, as Python has it. Times are in seconds."""

from .types import Batch as Batch
from .types import Cancelled as Cancelled
from .types import Delivery as Delivery
from .types import Event as Event
from .types import EventError as EventError
from .types import Handle
from .types import HTTPError as HTTPError
from .types import Request as Request
from .types import Response as Response

def serve(handle: Handle) -> type:
    """The class that a component has as `Handler` (WASI 0.3) or `IncomingHandler` (0.2): it gives each request to `handle`."""

async def sleep(seconds: float) -> None:
    """Waits. Raises `Cancelled` when the request is over before that."""

class queue:
    """A queue: each event is for one taker. What is done with it raises `EventError` where the host refuses."""

    def __init__(self, name: str) -> None: ...
    async def push(
        self, data: bytes, content_type: str | None = None, delay: float | None = None, time_to_live: float | None = None
    ) -> str:
        """Stores an event, and returns its id."""

    async def take(self, wait: float) -> Delivery | None:
        """The next event; None if there is none for so long. Raises `Cancelled` when the request is over before that."""

class topic:
    """A topic: each event is for all who read. What is done with it raises `EventError` where the host refuses."""

    def __init__(self, name: str) -> None: ...
    async def publish(self, data: bytes, content_type: str | None = None) -> str:
        """Stores an event, and returns the cursor after it."""

    async def end(self) -> str:
        """The cursor after the last event."""

    async def read(self, after: str | None, limit: int, wait: float) -> Batch | None:
        """At most so many events after a cursor, or from the oldest; None if there is none for so long. Raises `Cancelled`
        when the request is over before that."""
