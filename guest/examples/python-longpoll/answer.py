"""Answers without an event."""

from linger import Cancelled, EventError, HTTPError, Response


def nothing() -> Response:
    """No event came: the client asks again."""
    return Response(204, headers={"cache-control": "no-store"})


def stopped(reason: str) -> Response:
    """The answer to a client whose wait should end. Whoever left does not get it."""
    if reason == "shutdown":
        return Response.text("the server is stopping\n", 503, {"retry-after": "0"})
    return nothing()


def refused(error: EventError) -> Response:
    """The answer when a queue or a topic refused."""
    headers: dict[str, str] = {}
    match error.kind, error.value:
        case "invalid-name" | "invalid-content-type" | "invalid-cursor", _:
            status = 400
        case "too-large", _:
            status = 413
        case "over-limit", "total-bytes" | "names":
            status = 507
        case "over-limit", "events" | "bytes" | "waiters":
            # It is worth while to try again soon.
            status, headers = 429, {"retry-after": "1"}
        case "unavailable", _:
            status, headers = 503, {"retry-after": "1"}
        case "cancelled", reason:
            return stopped(reason)
        case _:
            # No request holds more than one delivery here, or settles it: a mistake of this handler.
            raise error
    return Response.text(f"{error}\n", status, headers)


def seconds(name: str, given: str | None, limit: int) -> int | None:
    """The time that a query parameter gives."""
    if given is None:
        return None
    if given.isascii() and given.isdigit() and len(given) < 20 and int(given) <= limit:
        return int(given)
    raise HTTPError(400, f'{name} is a whole number of seconds from 0 to {limit}, not "{given}"')
