/** The answer to a request. */
export class Answer {
  /** A body is bytes or text; without one there is none. */
  constructor(status: number, body?: Uint8Array | string, headers?: Record<string, string>);
  /** Plain text. */
  static text(text: string, status?: number, headers?: Record<string, string>): Answer;
  status: number;
  body: Uint8Array;
  headers: Record<string, string>;
}

/** Thrown, it is the answer: a sentence that says why there is no other. */
export class HttpError extends Error {
  constructor(status: number, sentence: string, headers?: Record<string, string>);
  answer: Answer;
}

/** Why the work for a request should stop. */
export type Reason = "closed" | "reset" | "unresponsive" | "deadline" | "shutdown" | "replaced" | "completed";

/** A limit that the host's configuration sets. */
export type Limit = "events" | "bytes" | "total-bytes" | "names" | "waiters" | "deliveries";

/** Why a queue or a topic refused, as WIT has it. */
export type Refusal =
  | { tag: "invalid-name" | "invalid-content-type" | "invalid-cursor" | "settled" | "unavailable"; val?: undefined }
  | { tag: "too-large"; val: bigint }
  | { tag: "over-limit"; val: Limit }
  | { tag: "cancelled"; val: Reason };

/** A queue or a topic refused. */
export class EventError extends Error {
  constructor(refusal: Refusal);
  kind: Refusal["tag"];
  /** What the case holds: the limit, or the reason. */
  value: Refusal["val"];
}

/** Nobody waits for the answer any more, or somebody wants it at once. */
export class Cancelled extends EventError {
  constructor(reason: Reason);
  value: Reason;
}

/** The error for what the host threw. */
export function eventError(refusal: Refusal): EventError;
