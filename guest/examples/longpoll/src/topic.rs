//! Topics: each event is for all who follow.

use crate::answer::{nothing, refused, stopped};
use crate::{EVENT_LIMIT, wait};
use linger_guest::{Batch, EventError, Request, Response, Result, Topic, cancellation, select, sleep, topic};

pub async fn publish(name: &str, request: Request) -> Result {
    let content_type = request.header("content-type");
    let data = request.into_body().bytes(EVENT_LIMIT).await?;
    let topic = topic(name);
    let mut publish = topic.publish(&data);
    if let Some(kind) = content_type {
        publish = publish.content_type(kind);
    }
    let cursor = publish.await.map_err(refused)?;
    Ok(Response::text(format!("{cursor}\n")).status(202))
}

pub async fn follow(name: &str, request: &Request) -> Result {
    let wait = wait(request)?;
    let topic = topic(name);
    let mut after = After::given(request.query("after"));
    let answer = select! {
        reason = cancellation().cancelled() => stopped(reason),
        batch = next(&topic, &mut after) => return batch.map(followed).map_err(refused),
        () = sleep(wait) => nothing(),
    };
    Ok(match after {
        After::Cursor(cursor) => answer.header("event-cursor", cursor),
        After::Oldest | After::Now => answer,
    })
}

/// Where a client is in a topic.
enum After {
    Oldest,
    Now,
    Cursor(String),
}

impl After {
    fn given(after: Option<String>) -> Self {
        match after {
            None => Self::Oldest,
            Some(now) if now == "now" => Self::Now,
            Some(cursor) => Self::Cursor(cursor),
        }
    }
}

/// Waits for the next event. A client that follows from now on is first given its place: should nothing come,
/// it goes on from there.
async fn next(topic: &Topic, after: &mut After) -> Result<Batch, EventError> {
    if let After::Now = after {
        *after = After::Cursor(topic.end().await?);
    }
    let cursor = match after {
        After::Cursor(cursor) => Some(cursor.as_str()),
        After::Oldest | After::Now => None,
    };
    topic.read(cursor, 1).await
}

/// The answer with an event.
fn followed(batch: Batch) -> Response {
    let event = batch.events.first().expect("a batch has an event");
    let mut response =
        Response::event(event).header("cache-control", "no-store").header("event-cursor", batch.next);
    if batch.missed > 0 {
        response = response.header("events-missed", batch.missed.to_string());
    }
    if batch.restarted { response.header("topic-restarted", "true") } else { response }
}
