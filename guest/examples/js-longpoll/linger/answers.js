// What needs nothing of the host: answers, and errors.

const encoder = new TextEncoder();

/** The answer to a request. A body is bytes or text. */
export class Answer {
  constructor(status, body = "", headers = {}) {
    this.status = status;
    this.body = typeof body === "string" ? encoder.encode(body) : body;
    this.headers = headers;
  }

  static text(text, status = 200, headers = {}) {
    return new Answer(status, text, { "content-type": "text/plain; charset=utf-8", ...headers });
  }
}

/** Thrown, it is the answer: a sentence that says why there is no other. */
export class HttpError extends Error {
  constructor(status, sentence, headers = {}) {
    super(sentence);
    this.answer = Answer.text(`${sentence}\n`, status, headers);
  }
}

/** A queue or a topic refused. `kind` is the case of `event-error` in WIT, and `value` what it holds. */
export class EventError extends Error {
  constructor({ tag, val }) {
    super(sentence(tag, val));
    this.kind = tag;
    this.value = val;
  }
}

/** Nobody waits for the answer any more, or somebody wants it at once: `value` is the reason, as `shutdown`. */
export class Cancelled extends EventError {
  constructor(reason) {
    super({ tag: "cancelled", val: reason });
  }
}

const LIMITS = {
  events: "the queue holds as many events as the host allows",
  bytes: "the queue holds as many bytes as the host allows",
  waiters: "as many wait for an event here as the host allows",
  "total-bytes": "all queues, or all topics, together hold as many bytes as the host allows",
  names: "there are as many queues, or topics, as the host allows",
  deliveries: "the request holds as many deliveries as the host allows",
};

function sentence(kind, value) {
  switch (kind) {
    case "invalid-name":
      return "a name is 1 to 128 letters, digits, '-', '_' or '.', starting with a letter or a digit";
    case "invalid-content-type":
      return "a content type is at most 256 bytes that a header can hold";
    case "invalid-cursor":
      return "a cursor is one that the topic gave";
    case "too-large":
      return `an event is at most ${value} bytes`;
    case "over-limit":
      return LIMITS[value];
    case "cancelled":
      return `the request is over: ${value}`;
    case "settled":
      return "the delivery was settled before";
    default:
      return "the store is unavailable";
  }
}

/** The error for what the host threw. */
export function eventError({ tag, val }) {
  return tag === "cancelled" ? new Cancelled(val) : new EventError({ tag, val });
}
