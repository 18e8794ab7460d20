//! Queues: each event is for one client.

use crate::answer::{nothing, refused, stopped};
use crate::bindings::queue::{Delivery, Queue};
use crate::bindings::{EventId, PushOptions};
use crate::http::{self, Answer};
use crate::{EVENT_LIMIT, nanoseconds, race, seconds, wait};
use std::time::Duration;
use wasi::http::types::IncomingRequest;

/// The longest delay and time to live of an event, in seconds.
const AGE_LIMIT: u64 = 30 * 24 * 60 * 60;

pub fn push(name: &str, target: &str, request: &IncomingRequest) -> Result<Answer, Answer> {
    let options = PushOptions {
        content_type: http::header(request, "content-type"),
        delay: seconds(target, "delay", AGE_LIMIT)?.map(nanoseconds),
        time_to_live: seconds(target, "ttl", AGE_LIMIT)?.map(nanoseconds),
    };
    let data = http::body(request, EVENT_LIMIT)?;
    let queue = Queue::open(name).map_err(refused)?;
    let id = queue.push(&data, &options).map_err(refused)?;
    Ok(Answer::text(202, format!("{}\n", text(id))))
}

pub fn poll(name: &str, target: &str) -> Result<Answer, Answer> {
    let wait = wait(target)?;
    let queue = Queue::open(name).map_err(refused)?;
    match first(&queue, wait)? {
        Some(event) => Ok(delivered(&event)),
        None => Ok(nothing()),
    }
}

/// Waits for an event. The error is the answer.
fn first(queue: &Queue, wait: Duration) -> Result<Option<Delivery>, Answer> {
    // Values are dropped in the reverse order: the pollable before the resource it belongs to.
    let pending = queue.take();
    let arrived = pending.subscribe();
    match race(&arrived, wait) {
        Some(reason) => Err(stopped(reason)),
        None => pending.get().transpose().map_err(refused),
    }
}

/// An id as the host and the SDK write it.
fn text(EventId { epoch, number }: EventId) -> String {
    format!("{epoch:08x}-{number}")
}

/// The answer with an event.
fn delivered(event: &Delivery) -> Answer {
    let answer = Answer::event(event.data(), event.content_type()).header("event-id", text(event.id()));
    if event.maybe_delivered() { answer.header("maybe-delivered", "true") } else { answer }
}
