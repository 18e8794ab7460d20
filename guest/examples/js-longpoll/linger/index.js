// What Linger gives a handler in WASI 0.2, as JavaScript has it. An instance has one request at a time, so what waits here
// blocks: nothing has to be awaited. `index.d.ts` has the types.

import { current } from "linger:host/cancellation-p2@0.1.0";
import { Queue } from "linger:host/queue-p2@0.1.0";
import { Topic } from "linger:host/topic-p2@0.1.0";
import { subscribeDuration } from "wasi:clocks/monotonic-clock@0.2.12";
import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from "wasi:http/types@0.2.12";
import { poll } from "wasi:io/poll@0.2.12";
import { Answer, Cancelled, HttpError, eventError } from "./answers.js";

export { Answer, Cancelled, EventError, HttpError } from "./answers.js";

/** How much one read asks for, in bytes. */
const CHUNK = 64n * 1024n;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Calls what can fail with an `event-error`. */
function orThrow(call) {
  try {
    return call();
  } catch (error) {
    throw error.payload?.tag ? eventError(error.payload) : error;
  }
}

/** Uses resources, and drops them in the reverse order: a pollable goes before what it belongs to. */
function using(work) {
  const held = [];
  const hold = (resource) => {
    held.push(resource);
    return resource;
  };
  try {
    return work(hold);
  } finally {
    while (held.length > 0) held.pop()[Symbol.dispose]();
  }
}

const nanoseconds = (seconds) => (seconds === undefined ? undefined : BigInt(Math.round(seconds * 1e9)));

/** Waits for what arrives, but at most for so many seconds. Throws `Cancelled` when the request is over before that. */
function wait(seconds, ...arrived) {
  using((hold) => {
    const cancellation = hold(current());
    poll([hold(cancellation.subscribe()), hold(subscribeDuration(nanoseconds(seconds))), ...arrived]);
    const reason = cancellation.reason();
    if (reason !== undefined) throw new Cancelled(reason);
  });
}

/** What a wait of the host gives; undefined if there is nothing for so many seconds. */
function waitFor(start, seconds) {
  return using((hold) => {
    const pending = hold(start());
    using((hold) => wait(seconds, hold(pending.subscribe())));
    const got = pending.get();
    if (got?.tag === "err") throw eventError(got.val);
    return got?.val;
  });
}

/** Waits for so many seconds. Throws `Cancelled` when the request is over before that. */
export const sleep = (seconds) => wait(seconds);

const eventId = ({ epoch, number }) => `${epoch.toString(16).padStart(8, "0")}-${number}`;
const kindOf = (event) => event.contentType() ?? "application/octet-stream";

/** A queue: each event is for one taker. */
export function queue(name) {
  const opened = (work) => using((hold) => work(hold(orThrow(() => Queue.open(name)))));
  return {
    push(data, { contentType, delay, timeToLive } = {}) {
      const options = { contentType, delay: nanoseconds(delay), timeToLive: nanoseconds(timeToLive) };
      return opened((queue) => eventId(orThrow(() => queue.push(data, options))));
    },
    take(seconds) {
      const delivery = opened((queue) => waitFor(() => queue.take(), seconds));
      return delivery && using((hold) => delivered(hold(delivery)));
    },
  };
}

function delivered(delivery) {
  return {
    id: eventId(delivery.id()),
    data: delivery.data(),
    contentType: kindOf(delivery),
    attempt: delivery.attempt(),
    maybeDelivered: delivery.maybeDelivered(),
  };
}

/** A topic: each event is for all who read. */
export function topic(name) {
  const opened = (work) => using((hold) => work(hold(orThrow(() => Topic.open(name)))));
  return {
    publish: (data, contentType) => opened((topic) => orThrow(() => topic.publish(data, contentType))),
    end: () => opened((topic) => orThrow(() => topic.end())),
    read(after, limit, seconds) {
      const batch = opened((topic) => waitFor(() => topic.read(after, limit), seconds));
      return batch && using((hold) => ({ ...batch, events: batch.events.map((event) => published(hold(event))) }));
    },
  };
}

function published(event) {
  return { cursor: event.cursor(), data: event.data(), contentType: kindOf(event) };
}

/** A request. What the host has of it is fetched when it is asked for. */
class Request {
  #request;
  #query;

  constructor(request) {
    const [path, query = ""] = (request.pathWithQuery() ?? "/").split(/\?(.*)/s);
    const method = request.method();
    this.#request = request;
    this.#query = new URLSearchParams(query);
    this.method = method.val ?? method.tag.toUpperCase();
    this.path = path || "/";
  }

  query(name) {
    return this.#query.get(name) ?? undefined;
  }

  header(name) {
    return using((hold) => {
      const values = hold(this.#request.headers()).get(name);
      return values.length > 0 ? values.map((value) => decoder.decode(value)).join(", ") : undefined;
    });
  }

  body(limit) {
    return using((hold) => {
      const stream = hold(hold(this.#request.consume()).stream());
      const chunks = [];
      let length = 0;
      for (let chunk; (chunk = read(stream)) !== undefined; ) {
        length += chunk.length;
        if (length > limit) throw new HttpError(413, `the body is larger than ${limit} bytes`);
        chunks.push(chunk);
      }
      return joined(chunks, length);
    });
  }
}

function joined(chunks, length) {
  const data = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    data.set(chunk, at);
    at += chunk.length;
  }
  return data;
}

/** The next bytes of a body; undefined at its end. */
function read(stream) {
  try {
    return stream.blockingRead(CHUNK);
  } catch (error) {
    if (error.payload?.tag === "closed") return undefined;
    throw new HttpError(400, "the request body broke off");
  }
}

/** What a component exports as `incomingHandler`: it gives each request to `handle`, and sends what that returns. */
export function serve(handle) {
  return {
    async handle(request, out) {
      send(await answer(handle, request), out);
    },
  };
}

/** The handler's answer, or the one that it threw. A mistake of the handler goes to the log, and is a 500. */
async function answer(handle, request) {
  try {
    return await handle(new Request(request));
  } catch (error) {
    if (error instanceof HttpError) return error.answer;
    console.error(`the handler failed: ${error}\n${error?.stack ?? ""}`);
    return Answer.text("Internal Server Error\n", 500);
  } finally {
    request[Symbol.dispose]();
  }
}

/** Blocks until the host has all of it, or nobody wants it any more. */
function send({ status, body, headers }, out) {
  const fields = Object.entries(headers).map(([name, value]) => [name, encoder.encode(value)]);
  if (status !== 204) fields.push(["content-length", encoder.encode(String(body.length))]);
  const response = new OutgoingResponse(Fields.fromList(fields));
  response.setStatusCode(status);
  const outgoing = response.body();
  ResponseOutparam.set(out, { tag: "ok", val: response });
  try {
    write(outgoing, body);
  } catch {
    return; // The client has left: the host knows.
  }
  OutgoingBody.finish(outgoing, undefined);
}

function write(outgoing, data) {
  using((hold) => {
    const stream = hold(outgoing.write());
    const writable = hold(stream.subscribe());
    while (data.length > 0) {
      const room = Number(stream.checkWrite());
      if (room === 0) {
        writable.block();
      } else {
        stream.write(data.subarray(0, room));
        data = data.subarray(room);
      }
    }
    stream.flush();
  });
}
