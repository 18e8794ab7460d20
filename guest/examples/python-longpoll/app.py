"""Long polling over queues and topics.

| request | answer |
|---|---|
| `POST /push/{queue}` | `202` and the event's id: the body and its content type are stored |
| `?delay=SECONDS&ttl=SECONDS` | nobody gets it before the one, or after the other; both at most 30 days |
| `GET /poll/{queue}?wait=SECONDS` | `200` and one event, as soon as there is one; `event-id` names it |
| | the same with `maybe-delivered: true` when an earlier client may have got it |
| `POST /publish/{topic}` | `202` and the cursor after the event: all who follow get it |
| `GET /follow/{topic}?after=CURSOR&wait=SECONDS` | `200` and the next event, as soon as there is one |
| | `event-cursor` is what to give as `after` next |
| | `events-missed: N` when the topic no longer keeps the N events before it |
| | `topic-restarted: true` when the topic began anew since: what was missed cannot be told |

Without `after` a client follows from the oldest event that the topic keeps, with `after=now` from its end.

Both ways to wait give `204` when there was nothing for that long: 5 seconds if not said, at most 60. And `503` with
`retry-after: 0` when the server stops: another one may have taken over. Of a topic these have `event-cursor` too,
where there is one: with it nothing is missed between two requests.

An event whose client left before it got all of it is back in its queue: nothing here has to see to that.
"""

from answer import nothing, refused, seconds, stopped
from linger import Cancelled, EventError, HTTPError, Request, Response, queue, serve, topic

EVENT_LIMIT = 1024 * 1024
"""The largest event that is read before the host is asked whether it takes it, in bytes."""

AGE_LIMIT = 30 * 24 * 60 * 60
"""The longest delay and time to live of an event, in seconds."""

WAIT, WAIT_LIMIT = 5, 60
"""How long a client waits when it does not say, and at most, in seconds."""

LOOK = 0.02
"""What even a client that does not wait leaves the store to find an event that is there, in seconds."""


async def handle(request: Request) -> Response:
    try:
        return await route(request)
    except EventError as error:
        return refused(error)


async def route(request: Request) -> Response:
    match request.method, request.path.split("/")[1:]:
        case "POST", ["push", name]:
            return await push(name, request)
        case "GET", ["poll", name]:
            return await poll(name, request)
        case "POST", ["publish", name]:
            return await publish(name, request)
        case "GET", ["follow", name]:
            return await follow(name, request)
        case _, ["push", _]:
            raise HTTPError(405, "push an event by POST", {"allow": "POST"})
        case _, ["poll", _]:
            raise HTTPError(405, "poll by GET", {"allow": "GET"})
        case _, ["publish", _]:
            raise HTTPError(405, "publish an event by POST", {"allow": "POST"})
        case _, ["follow", _]:
            raise HTTPError(405, "follow by GET", {"allow": "GET"})
    raise HTTPError(
        404, "there is POST /push/{queue} and GET /poll/{queue}, POST /publish/{topic} and GET /follow/{topic}"
    )


async def push(name: str, request: Request) -> Response:
    delay = seconds("delay", request.query("delay"), AGE_LIMIT)
    ttl = seconds("ttl", request.query("ttl"), AGE_LIMIT)
    data = await request.body(EVENT_LIMIT)
    id = await queue(name).push(data, request.header("content-type"), delay, ttl)
    return Response.text(f"{id}\n", 202)


async def poll(name: str, request: Request) -> Response:
    wait = waits(request)
    event = await queue(name).take(wait)
    if event is None:
        return nothing()
    headers = {"content-type": event.content_type, "cache-control": "no-store", "event-id": event.id}
    if event.maybe_delivered:
        headers["maybe-delivered"] = "true"
    return Response(200, event.data, headers)


async def publish(name: str, request: Request) -> Response:
    data = await request.body(EVENT_LIMIT)
    cursor = await topic(name).publish(data, request.header("content-type"))
    return Response.text(f"{cursor}\n", 202)


async def follow(name: str, request: Request) -> Response:
    wait = waits(request)
    after = request.query("after")
    if after == "now":
        # Should nothing come, the client goes on from this place.
        after = await topic(name).end()
    try:
        batch = await topic(name).read(after, 1, wait)
    except Cancelled as cancelled:
        batch, answer = None, stopped(cancelled.value)
    else:
        answer = nothing()
    if batch is None:
        if after is not None:
            answer.headers["event-cursor"] = after
        return answer
    event = batch.events[0]
    headers = {"content-type": event.content_type, "cache-control": "no-store", "event-cursor": batch.next}
    if batch.missed > 0:
        headers["events-missed"] = str(batch.missed)
    if batch.restarted:
        headers["topic-restarted"] = "true"
    return Response(200, event.data, headers)


def waits(request: Request) -> float:
    """How long this client waits, in seconds."""
    given = seconds("wait", request.query("wait"), WAIT_LIMIT)
    return max(WAIT if given is None else given, LOOK)


# WASI 0.3 looks for the one name, 0.2 for the other.
Handler = IncomingHandler = serve(handle)
