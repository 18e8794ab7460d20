// The smallest handler in JavaScript for WASI 0.2, with nothing of Linger.

import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from "wasi:http/types@0.2.12";

const encoder = new TextEncoder();
const greeting = encoder.encode("Hello, world!\n");
const headers = [
  ["content-type", encoder.encode("text/plain")],
  ["content-length", encoder.encode(String(greeting.length))],
];

export const incomingHandler = {
  handle(_request, out) {
    const response = new OutgoingResponse(Fields.fromList(headers));
    const body = response.body();
    ResponseOutparam.set(out, { tag: "ok", val: response });
    const stream = body.write();
    stream.blockingWriteAndFlush(greeting);
    stream[Symbol.dispose]();
    OutgoingBody.finish(body, undefined);
  },
};
