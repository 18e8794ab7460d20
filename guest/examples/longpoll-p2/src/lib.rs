//! Long polling over queues, in WASI 0.2: what the example `longpoll` does, with pollables.
//!
//! | request | answer |
//! |---|---|
//! | `POST /push/{queue}` | `202` and the event's id: the body and its content type are stored |
//! | `GET /poll/{queue}?wait=SECONDS` | `200` and one event, as soon as there is one |
//! | | `204` when there was none for that long: 5 seconds if not said, at most 60 |
//! | | `503` with `retry-after: 0` when the server stops: another one may have taken over |

mod bindings;
mod http;

use bindings::queue::{Delivery, Queue};
use bindings::{QueueError, Reason, cancellation};
use http::Answer;
use std::time::Duration;
use wasi::clocks::monotonic_clock;
use wasi::exports::http::incoming_handler::Guest;
use wasi::http::types::{IncomingRequest, ResponseOutparam};
use wasi::io::poll;

/// The largest event that is read before the host is asked whether it takes it, in bytes.
const EVENT_LIMIT: usize = 1024 * 1024;

/// How long a poll waits, in seconds, when it does not say, and at most.
const WAIT: u64 = 5;
const WAIT_LIMIT: u64 = 60;

/// What even a poll that does not wait leaves the store to find an event that is there.
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
        ("POST", ["push", name]) => push(name, request),
        ("GET", ["poll", name]) => poll(name, &target),
        (_, ["push", _]) => Ok(refusal(405, "push an event by POST").header("allow", "POST")),
        (_, ["poll", _]) => Ok(refusal(405, "poll by GET").header("allow", "GET")),
        _ => Ok(refusal(404, "there is POST /push/{queue} and GET /poll/{queue}")),
    }
}

fn push(name: &str, request: &IncomingRequest) -> Result<Answer, Answer> {
    let content_type = http::header(request, "content-type");
    let data = http::body(request, EVENT_LIMIT)?;
    let queue = Queue::open(name).map_err(refused)?;
    let id = queue.push(&data, content_type.as_deref()).map_err(refused)?;
    Ok(Answer::text(202, format!("{id}\n")))
}

fn poll(name: &str, target: &str) -> Result<Answer, Answer> {
    let wait = wait(target)?;
    let queue = Queue::open(name).map_err(refused)?;
    let event = first(&queue, wait.max(LOOK))?;
    Ok(delivered(&event))
}

/// The answer with an event.
fn delivered(event: &Delivery) -> Answer {
    let kind = event.content_type().unwrap_or_else(|| "application/octet-stream".into());
    let answer = Answer::new(200, event.data())
        .header("content-type", kind)
        .header("cache-control", "no-store")
        .header("event-id", event.id());
    if event.maybe_delivered() { answer.header("maybe-delivered", "true") } else { answer }
}

/// Waits for the first of: the client gone, an event, the timer. The error is the answer.
fn first(queue: &Queue, wait: Duration) -> Result<Delivery, Answer> {
    // Values are dropped in the reverse order: each pollable before the resource it belongs to.
    let cancellation = cancellation::current();
    let cancelled = cancellation.subscribe();
    let pending = queue.take();
    let arrived = pending.subscribe();
    let nanoseconds = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    let timer = monotonic_clock::subscribe_duration(nanoseconds);

    poll::poll(&[&cancelled, &arrived, &timer]);
    if let Some(reason) = cancellation.reason() {
        return Err(stopped(reason));
    }
    match pending.get() {
        Some(delivery) => delivery.map_err(refused),
        None => Err(nothing()),
    }
}

fn wait(target: &str) -> Result<Duration, Answer> {
    let Some(given) = http::query(target, "wait") else {
        return Ok(Duration::from_secs(WAIT));
    };
    match given.parse() {
        Ok(seconds @ 0..=WAIT_LIMIT) => Ok(Duration::from_secs(seconds)),
        _ => {
            let range = format!("a whole number of seconds from 0 to {WAIT_LIMIT}");
            Err(refusal(400, &format!("wait is {range}, not {given:?}")))
        }
    }
}

/// No event came: the client polls again.
fn nothing() -> Answer {
    Answer::new(204, "").header("cache-control", "no-store")
}

/// The answer to a poll that should end. Whoever left does not get it.
fn stopped(reason: Reason) -> Answer {
    match reason {
        Reason::Shutdown => refusal(503, "the server is stopping").header("retry-after", "0"),
        _ => nothing(),
    }
}

/// The answer when a queue refused.
fn refused(error: QueueError) -> Answer {
    match error {
        QueueError::InvalidName => refusal(
            400,
            "a queue's name is 1 to 128 letters, digits, '-', '_' or '.', starting with a letter or a digit",
        ),
        QueueError::InvalidContentType => {
            refusal(400, "a content type is at most 256 bytes that a header can hold")
        }
        QueueError::TooLarge(limit) => refusal(413, &format!("an event is at most {limit} bytes")),
        QueueError::Full => refusal(503, "the queue is full").header("retry-after", "1"),
        QueueError::Cancelled(reason) => stopped(reason),
        QueueError::Unavailable(how) => {
            eprintln!("the queue is unavailable: {how}");
            refusal(503, "the queue is unavailable").header("retry-after", "1")
        }
        QueueError::TooManyDeliveries | QueueError::Settled => {
            eprintln!("the handler failed: {error}");
            refusal(500, "Internal Server Error")
        }
    }
}

fn refusal(status: u16, sentence: &str) -> Answer {
    Answer::text(status, format!("{sentence}\n"))
}
