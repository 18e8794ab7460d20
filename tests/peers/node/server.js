// A long-poll server on Node's http, written with care: what the conformance suite is run against to see
// what a common server can tell of clients that leave.
//
//   POST /push/{queue}               stores the body as an event; 202
//   GET  /poll/{queue}?wait=SECONDS  200 and one event, or 204 if there was none for that long
//
// A poll waits in its queue's line for an event or its timer, and leaves the line on the response's 'close'.
// An event whose response closes before it has finished is put back.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const { parseArgs } = require('node:util');

const DEFAULT_WAIT = 5;
const MAX_WAIT = 60;
const MAX_EVENT = 1024 * 1024;

const { values: options } = parseArgs({
  options: {
    listen: { type: 'string', default: '127.0.0.1:0' },
    // PEM files: serve HTTPS, with HTTP/2.
    cert: { type: 'string' },
    key: { type: 'string' },
  },
});

/** name -> { events: Buffer[], waiters: ((event: Buffer) => void)[] } */
const queues = new Map();

function named(name) {
  if (!queues.has(name)) queues.set(name, { events: [], waiters: [] });
  return queues.get(name);
}

function forgetIfEmpty(name) {
  const queue = queues.get(name);
  if (queue && queue.events.length === 0 && queue.waiters.length === 0) queues.delete(name);
}

/** Gives an event to the poll that has waited longest, or keeps it: behind the others, or before them. */
function give(name, event, back) {
  const queue = named(name);
  const waiter = queue.waiters.shift();
  if (waiter) waiter(event);
  else if (back) queue.events.unshift(event);
  else queue.events.push(event);
}

function refuse(res, status, sentence) {
  res.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' });
  res.end(`${sentence}\n`);
}

function push(name, req, res) {
  const parts = [];
  let size = 0;
  req.on('data', (part) => {
    size += part.length;
    if (size <= MAX_EVENT) parts.push(part);
  });
  req.on('end', () => {
    if (size > MAX_EVENT) return refuse(res, 413, 'the event is too large');
    give(name, Buffer.concat(parts), false);
    res.writeHead(202);
    res.end();
  });
}

function poll(name, url, res) {
  const given = url.searchParams.get('wait');
  const wait = given === null ? DEFAULT_WAIT : Number(given);
  if (given === '' || !Number.isInteger(wait) || wait < 0 || wait > MAX_WAIT) {
    return refuse(res, 400, `wait is a whole number of seconds from 0 to ${MAX_WAIT}`);
  }
  const queue = named(name);
  let event;
  let timer;

  const answer = (taken) => {
    clearTimeout(timer);
    event = taken;
    if (res.destroyed || res.stream?.destroyed) return give(name, event, true);
    res.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': event.length });
    res.end(event);
  };
  const leaveLine = () => {
    clearTimeout(timer);
    const place = queue.waiters.indexOf(answer);
    if (place >= 0) queue.waiters.splice(place, 1);
    forgetIfEmpty(name);
  };

  res.on('close', () => {
    leaveLine();
    if (event !== undefined && !res.writableFinished) give(name, event, true);
  });
  if (queue.events.length > 0) return answer(queue.events.shift());
  queue.waiters.push(answer);
  timer = setTimeout(() => {
    leaveLine();
    res.writeHead(204);
    res.end();
  }, wait * 1000);
}

function route(req, res) {
  // A client that goes in the middle of something is no error here: 'close' tells of it.
  req.on('error', () => {});
  res.on('error', () => {});
  const url = new URL(req.url, 'http://localhost');
  const [, verb, name, more] = url.pathname.split('/');
  if (!name || more !== undefined) return refuse(res, 404, 'there is POST /push/{queue} and GET /poll/{queue}');
  if (verb === 'push' && req.method === 'POST') return push(name, req, res);
  if (verb === 'poll' && req.method === 'GET') return poll(name, url, res);
  return refuse(res, 404, 'there is POST /push/{queue} and GET /poll/{queue}');
}

const scheme = options.cert ? 'https' : 'http';
const server = options.cert
  ? http2.createSecureServer(
      { allowHTTP1: true, cert: fs.readFileSync(options.cert), key: fs.readFileSync(options.key) },
      route,
    )
  : http.createServer(route);
const [, host, port] = options.listen.match(/^(.*):(\d+)$/);
server.listen(Number(port), host, () => {
  const { address, port: bound } = server.address();
  console.log(`listening on ${scheme}://${address}:${bound}`);
});
