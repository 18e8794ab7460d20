"""What Linger gives a handler, as Python has it: over the bindings for WASI 0.3, or for 0.2."""

from .types import Batch, Cancelled, Delivery, Event, EventError, HTTPError, Request, Response

try:
    import wit_world
except ImportError:  # No component, but a test.
    from .local import queue, serve, sleep, topic
else:
    if hasattr(wit_world, "byte_stream"):  # Streams are of WASI 0.3.
        from .p3 import queue, serve, sleep, topic
    else:
        from .p2 import queue, serve, sleep, topic

__all__ = [
    "Batch", "Cancelled", "Delivery", "Event", "EventError", "HTTPError", "Request", "Response",
    "queue", "serve", "sleep", "topic",
]  # fmt: skip
