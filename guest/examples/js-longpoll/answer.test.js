import assert from "node:assert/strict";
import { test } from "node:test";
import { refused, seconds, stopped } from "./answer.js";
import { EventError, HttpError } from "./linger/answers.js";

test("time over the limit is refused", () => {
  assert.equal(seconds("wait", "60", 60), 60);
  assert.equal(seconds("wait", undefined, 60), undefined);
  for (const wrong of ["61", "-1", "1.5", "", "soon"]) {
    assert.throws(() => seconds("wait", wrong, 60), HttpError, wrong);
  }
});

test("full queue is 429, and too many queues are 507", () => {
  const status = (val) => refused(new EventError({ tag: "over-limit", val })).status;
  assert.equal(status("events"), 429);
  assert.equal(status("names"), 507);
  assert.throws(() => status("deliveries"), EventError);
});

test("client of a server that stops is told to come back", () => {
  assert.equal(stopped("shutdown").status, 503);
  assert.equal(stopped("closed").status, 204);
});
