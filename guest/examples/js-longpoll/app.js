// Long polling over queues and topics.
//
// | request | answer |
// |---|---|
// | `POST /push/{queue}` | `202` and the event's id: the body and its content type are stored |
// | `?delay=SECONDS&ttl=SECONDS` | nobody gets it before the one, or after the other; both at most 30 days |
// | `GET /poll/{queue}?wait=SECONDS` | `200` and one event, as soon as there is one; `event-id` names it |
// | | the same with `maybe-delivered: true` when an earlier client may have got it |
// | `POST /publish/{topic}` | `202` and the cursor after the event: all who follow get it |
// | `GET /follow/{topic}?after=CURSOR&wait=SECONDS` | `200` and the next event, as soon as there is one |
// | | `event-cursor` is what to give as `after` next |
// | | `events-missed: N` when the topic no longer keeps the N events before it |
// | | `topic-restarted: true` when the topic began anew since: what was missed cannot be told |
//
// Without `after` a client follows from the oldest event that the topic keeps, with `after=now` from its end.
//
// Both ways to wait give `204` when there was nothing for that long: 5 seconds if not said, at most 60. And `503` with
// `retry-after: 0` when the server stops: another one may have taken over. Of a topic these have `event-cursor` too,
// where there is one: with it nothing is missed between two requests.
//
// An event whose client left before it got all of it is back in its queue: nothing here has to see to that.

import { nothing, refused, seconds, stopped } from "./answer.js";
import { Answer, Cancelled, EventError, HttpError, queue, serve, topic } from "./linger/index.js";

/** The largest event that is read before the host is asked whether it takes it, in bytes. */
const EVENT_LIMIT = 1024 * 1024;

/** The longest delay and time to live of an event, in seconds. */
const AGE_LIMIT = 30 * 24 * 60 * 60;

/** How long a client waits when it does not say, and at most, in seconds. */
const WAIT = 5;
const WAIT_LIMIT = 60;

/** What even a client that does not wait leaves the store to find an event that is there, in seconds. */
const LOOK = 0.02;

export const incomingHandler = serve((request) => {
  try {
    return route(request);
  } catch (error) {
    if (error instanceof EventError) return refused(error);
    throw error;
  }
});

const ROUTES = {
  push: { method: "POST", run: push, otherwise: "push an event by POST" },
  poll: { method: "GET", run: poll, otherwise: "poll by GET" },
  publish: { method: "POST", run: publish, otherwise: "publish an event by POST" },
  follow: { method: "GET", run: follow, otherwise: "follow by GET" },
};

function route(request) {
  const [verb, name, ...rest] = request.path.split("/").slice(1);
  const found = Object.hasOwn(ROUTES, verb) && name !== undefined && rest.length === 0;
  if (!found) {
    throw new HttpError(
      404,
      "there is POST /push/{queue} and GET /poll/{queue}, POST /publish/{topic} and GET /follow/{topic}",
    );
  }
  const { method, run, otherwise } = ROUTES[verb];
  if (request.method !== method) throw new HttpError(405, otherwise, { allow: method });
  return run(name, request);
}

function push(name, request) {
  const delay = seconds("delay", request.query("delay"), AGE_LIMIT);
  const timeToLive = seconds("ttl", request.query("ttl"), AGE_LIMIT);
  const data = request.body(EVENT_LIMIT);
  const contentType = request.header("content-type");
  return Answer.text(`${queue(name).push(data, { contentType, delay, timeToLive })}\n`, 202);
}

function poll(name, request) {
  const event = queue(name).take(waits(request));
  if (!event) return nothing();
  const headers = { "content-type": event.contentType, "cache-control": "no-store", "event-id": event.id };
  if (event.maybeDelivered) headers["maybe-delivered"] = "true";
  return new Answer(200, event.data, headers);
}

function publish(name, request) {
  const data = request.body(EVENT_LIMIT);
  return Answer.text(`${topic(name).publish(data, request.header("content-type"))}\n`, 202);
}

function follow(name, request) {
  const wait = waits(request);
  let after = request.query("after");
  // Should nothing come, the client goes on from this place.
  if (after === "now") after = topic(name).end();
  const batch = next(name, after, wait);
  if (batch instanceof Answer) {
    if (after !== undefined) batch.headers["event-cursor"] = after;
    return batch;
  }
  const [event] = batch.events;
  const headers = { "content-type": event.contentType, "cache-control": "no-store", "event-cursor": batch.next };
  if (batch.missed > 0) headers["events-missed"] = String(batch.missed);
  if (batch.restarted) headers["topic-restarted"] = "true";
  return new Answer(200, event.data, headers);
}

/** The next event of a topic, or the answer without one. */
function next(name, after, wait) {
  try {
    return topic(name).read(after, 1, wait) ?? nothing();
  } catch (error) {
    if (error instanceof Cancelled) return stopped(error.value);
    throw error;
  }
}

/** How long this client waits, in seconds. */
function waits(request) {
  return Math.max(seconds("wait", request.query("wait"), WAIT_LIMIT) ?? WAIT, LOOK);
}
