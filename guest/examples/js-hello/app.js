// The smallest handler in WASI 0.3: it greets whoever asks.

import { Fields, Response } from "wasi:http/types@0.3.0";

/** UTF-8, without a `TextEncoder`: QuickJS has the language, and nothing of browsers. */
const bytes = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (c) => c.charCodeAt(0));

export const handler = {
  async handle(request) {
    const [, query = ""] = (request.getPathWithQuery() ?? "").split("?");
    const greeting = bytes(`Hello, ${nameIn(query) ?? "world"}!\n`);
    const headers = Fields.fromList([
      ["content-type", bytes("text/plain; charset=utf-8")],
      ["content-length", bytes(String(greeting.length))],
    ]);
    const body = wit.Stream.from([greeting], wit.Stream.U8);
    const trailers = wit.Future.from({ tag: "ok", val: null }, wit.Future.RESULT_OPTION_OTHER_ERROR_CODE);
    const [response, sent] = Response.new(headers, body.readable, trailers.readable);
    sent.drop();
    return response;
  },
};

/** The parameter `name` of a query. */
function nameIn(query) {
  const given = query.split("&").find((pair) => pair.startsWith("name="));
  return given && decodeURIComponent(given.slice("name=".length).replaceAll("+", " "));
}
