//! Topics: each event is for all who follow.

use crate::answer::{nothing, refused, stopped};
use crate::bindings::topic::{Batch, Topic};
use crate::http::{self, Answer};
use crate::{EVENT_LIMIT, race, wait};
use wasi::http::types::IncomingRequest;

pub fn publish(name: &str, request: &IncomingRequest) -> Result<Answer, Answer> {
    let content_type = http::header(request, "content-type");
    let data = http::body(request, EVENT_LIMIT)?;
    let topic = Topic::open(name).map_err(refused)?;
    let cursor = topic.publish(&data, content_type.as_deref()).map_err(refused)?;
    Ok(Answer::text(202, format!("{cursor}\n")))
}

pub fn follow(name: &str, target: &str) -> Result<Answer, Answer> {
    let wait = wait(target)?;
    let topic = Topic::open(name).map_err(refused)?;
    let after = match http::query(target, "after") {
        // Should nothing come, the client goes on from this place.
        Some(now) if now == "now" => Some(topic.end().map_err(refused)?),
        after => after,
    };
    // Values are dropped in the reverse order: the pollable before the resource it belongs to.
    let pending = topic.read(after.as_deref(), 1);
    let arrived = pending.subscribe();
    let answer = match race(&arrived, wait) {
        Some(reason) => stopped(reason),
        None => match pending.get() {
            Some(batch) => return batch.map(followed).map_err(refused),
            None => nothing(),
        },
    };
    Ok(match after {
        Some(cursor) => answer.header("event-cursor", cursor),
        None => answer,
    })
}

/// The answer with an event.
fn followed(batch: Batch) -> Answer {
    let event = batch.events.first().expect("a batch has an event");
    let mut answer = Answer::event(event.data(), event.content_type()).header("event-cursor", batch.next);
    if batch.missed > 0 {
        answer = answer.header("events-missed", batch.missed.to_string());
    }
    if batch.restarted { answer.header("topic-restarted", "true") } else { answer }
}
