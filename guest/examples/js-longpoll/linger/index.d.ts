// What Linger gives a handler in WASI 0.2. An instance has one request at a time, so what waits here blocks: nothing has to be
// awaited. Times are in seconds.

import { Answer } from "./answers.js";

export { Answer, Cancelled, EventError, HttpError } from "./answers.js";
export type { Limit, Reason } from "./answers.js";

/** A request. */
export interface Request {
  readonly method: string;
  /** As it was sent: still percent-encoded, and without the query. */
  readonly path: string;
  /** The first query parameter of this name, decoded. */
  query(name: string): string | undefined;
  /** The header of this name, in any case. One in several lines is one with commas between them. */
  header(name: string): string | undefined;
  /** All of the body, once. One with more bytes than this is answered with 413, and one that broke off with 400. */
  body(limit: number): Uint8Array;
}

/** What a component exports as `incomingHandler`: it gives each request to `handle`, and sends what that returns. */
export function serve(handle: (request: Request) => Answer | Promise<Answer>): object;

/** Waits. Throws `Cancelled` when the request is over before that. */
export function sleep(seconds: number): void;

/** An event of a queue, which is this request's until its end. Who did not get the answer did not get the event either. */
export interface Delivery {
  id: string;
  data: Uint8Array;
  contentType: string;
  /** How often it has been taken, this time included. */
  attempt: number;
  /** Whether an earlier client may have got it. */
  maybeDelivered: boolean;
}

/** A queue: each event is for one taker. */
export interface Queue {
  /** Stores an event, and returns its id. */
  push(data: Uint8Array, options?: { contentType?: string; delay?: number; timeToLive?: number }): string;
  /** The next event; undefined if there is none for so long. Throws `Cancelled` when the request is over before that. */
  take(seconds: number): Delivery | undefined;
}

/** The queue of this name. What is done with it throws `EventError` where the host refuses. */
export function queue(name: string): Queue;

/** An event of a topic. */
export interface Published {
  /** The cursor after it. */
  cursor: string;
  data: Uint8Array;
  contentType: string;
}

/** Events of a topic, at least one, and where to read on. */
export interface Batch {
  events: Published[];
  next: string;
  /** How many events before these are no longer kept. */
  missed: bigint;
  /** Whether the topic began anew since: what was missed cannot be told. */
  restarted: boolean;
}

/** A topic: each event is for all who read. */
export interface Topic {
  /** Stores an event, and returns the cursor after it. */
  publish(data: Uint8Array, contentType?: string): string;
  /** The cursor after the last event. */
  end(): string;
  /** At most so many events after a cursor, or from the oldest; undefined if there is none for so long. Throws
   * `Cancelled` when the request is over before that. */
  read(after: string | undefined, limit: number, seconds: number): Batch | undefined;
}

/** The topic of this name. What is done with it throws `EventError` where the host refuses. */
export function topic(name: string): Topic;
