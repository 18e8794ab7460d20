// Answers without an event.

import { Answer, HttpError } from "./linger/answers.js";

/** No event came: the client asks again. */
export function nothing() {
  return new Answer(204, "", { "cache-control": "no-store" });
}

/** The answer to a client whose wait should end. Whoever left does not get it. */
export function stopped(reason) {
  return reason === "shutdown" ? Answer.text("the server is stopping\n", 503, { "retry-after": "0" }) : nothing();
}

/** The answer when a queue or a topic refused. */
export function refused(error) {
  const answer = (status, headers) => Answer.text(`${error.message}\n`, status, headers);
  switch (error.kind) {
    case "invalid-name":
    case "invalid-content-type":
    case "invalid-cursor":
      return answer(400);
    case "too-large":
      return answer(413);
    case "unavailable":
      return answer(503, { "retry-after": "1" });
    case "cancelled":
      return stopped(error.value);
    case "over-limit":
      // Whether it is worth while to try again soon.
      if (["events", "bytes", "waiters"].includes(error.value)) return answer(429, { "retry-after": "1" });
      if (["total-bytes", "names"].includes(error.value)) return answer(507);
  }
  // No request holds more than one delivery here, or settles it: a mistake of this handler.
  throw error;
}

/** The time that a query parameter gives, in seconds. */
export function seconds(name, given, limit) {
  if (given === undefined) return undefined;
  if (/^\d{1,19}$/.test(given) && Number(given) <= limit) return Number(given);
  throw new HttpError(400, `${name} is a whole number of seconds from 0 to ${limit}, not ${JSON.stringify(given)}`);
}
