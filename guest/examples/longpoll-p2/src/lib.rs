//! Long polling over queues and topics, in WASI 0.2: what the example `longpoll` does, with pollables.
//!
//! | request | answer |
//! |---|---|
//! | `POST /push/{queue}` | `202` and the event's id: the body and its content type are stored |
//! | `?delay=SECONDS&ttl=SECONDS` | nobody gets it before the one, or after the other; both at most 30 days |
//! | `GET /poll/{queue}?wait=SECONDS` | `200` and one event, as soon as there is one; `event-id` names it |
//! | | the same with `maybe-delivered: true` when an earlier client may have got it |
//! | `POST /publish/{topic}` | `202` and the cursor after the event: all who follow get it |
//! | `GET /follow/{topic}?after=CURSOR&wait=SECONDS` | `200` and the next event, as soon as there is one |
//! | | `event-cursor` is what to give as `after` next |
//! | | `events-missed: N` when the topic no longer keeps the N events before it |
//! | | `topic-restarted: true` when the topic began anew since: what was missed cannot be told |
//!
//! Without `after` a client follows from the oldest event that the topic keeps, with `after=now` from its end.
//!
//! Both ways to wait give `204` when there was nothing for that long: 5 seconds if not said, at most 60. And
//! `503` with `retry-after: 0` when the server stops: another one may have taken over. Of a topic these have
//! `event-cursor` too, where there is one: with it nothing is missed between two requests.

mod answer;
mod bindings;
mod http;
mod queue;
mod topic;

use answer::refusal;
use bindings::{Reason, cancellation};
use http::Answer;
use std::time::Duration;
use wasi::clocks::monotonic_clock;
use wasi::exports::http::incoming_handler::Guest;
use wasi::http::types::{IncomingRequest, ResponseOutparam};
use wasi::io::poll::{self, Pollable};

/// The largest event that is read before the host is asked whether it takes it, in bytes.
const EVENT_LIMIT: usize = 1024 * 1024;

/// How long a client waits when it does not say, and at most, the latter in seconds.
const WAIT: Duration = Duration::from_secs(5);
const WAIT_LIMIT: u64 = 60;

/// What even a client that does not wait leaves the store to find an event that is there.
const LOOK: Duration = Duration::from_millis(20);

struct LongPoll;

wasi::http::proxy::export!(LongPoll);

impl Guest for LongPoll {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        route(&request).unwrap_or_else(|answer| answer).send(out);
    }
}

fn route(request: &IncomingRequest) -> Result<Answer, Answer> {
    let target = request.path_with_query().unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    match (http::method(request), &path[..]) {
        ("POST", ["push", name]) => queue::push(name, &target, request),
        ("GET", ["poll", name]) => queue::poll(name, &target),
        ("POST", ["publish", name]) => topic::publish(name, request),
        ("GET", ["follow", name]) => topic::follow(name, &target),
        (_, ["push", _]) => Ok(refusal(405, "push an event by POST").header("allow", "POST")),
        (_, ["poll", _]) => Ok(refusal(405, "poll by GET").header("allow", "GET")),
        (_, ["publish", _]) => Ok(refusal(405, "publish an event by POST").header("allow", "POST")),
        (_, ["follow", _]) => Ok(refusal(405, "follow by GET").header("allow", "GET")),
        _ => Ok(refusal(
            404,
            "there is POST /push/{queue} and GET /poll/{queue}, POST /publish/{topic} and GET /follow/{topic}",
        )),
    }
}

/// How long this client waits.
fn wait(target: &str) -> Result<Duration, Answer> {
    Ok(seconds(target, "wait", WAIT_LIMIT)?.unwrap_or(WAIT).max(LOOK))
}

/// The time that a query parameter gives.
fn seconds(target: &str, name: &str, limit: u64) -> Result<Option<Duration>, Answer> {
    let Some(given) = http::query(target, name) else {
        return Ok(None);
    };
    match given.parse() {
        Ok(seconds) if seconds <= limit => Ok(Some(Duration::from_secs(seconds))),
        _ => {
            let range = format!("a whole number of seconds from 0 to {limit}");
            Err(refusal(400, &format!("{name} is {range}, not {given:?}")))
        }
    }
}

/// Waits for the first of: the client gone, what is awaited, the timer. Gives the reason to stop, if that is it.
fn race(arrived: &Pollable, wait: Duration) -> Option<Reason> {
    // Values are dropped in the reverse order: the pollable before the resource it belongs to.
    let cancellation = cancellation::current();
    let cancelled = cancellation.subscribe();
    let timer = monotonic_clock::subscribe_duration(nanoseconds(wait));
    poll::poll(&[&cancelled, arrived, &timer]);
    cancellation.reason()
}

/// A duration as the host counts it.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
