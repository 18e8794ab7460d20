//! Queues: each event is for one client.

use crate::answer::{nothing, refused, stopped};
use crate::{EVENT_LIMIT, seconds, wait};
use linger_guest::{Delivery, Request, Response, Result, cancellation, queue, select, sleep};

/// The longest delay and time to live of an event, in seconds.
const AGE_LIMIT: u64 = 30 * 24 * 60 * 60;

pub async fn push(name: &str, request: Request) -> Result {
    let content_type = request.header("content-type");
    let delay = seconds(&request, "delay", AGE_LIMIT)?;
    let time_to_live = seconds(&request, "ttl", AGE_LIMIT)?;
    let data = request.into_body().bytes(EVENT_LIMIT).await?;

    let queue = queue(name);
    let mut push = queue.push(&data);
    if let Some(kind) = content_type {
        push = push.content_type(kind);
    }
    if let Some(delay) = delay {
        push = push.delay(delay);
    }
    if let Some(time) = time_to_live {
        push = push.time_to_live(time);
    }
    let id = push.await.map_err(refused)?;
    Ok(Response::text(format!("{id}\n")).status(202))
}

pub async fn poll(name: &str, request: &Request) -> Result {
    let wait = wait(request)?;
    select! {
        reason = cancellation().cancelled() => Ok(stopped(reason)),
        event = queue(name).take() => {
            let event = event.map_err(refused)?;
            Ok(delivered(&event))
        }
        () = sleep(wait) => Ok(nothing()),
    }
}

/// The answer with an event.
fn delivered(event: &Delivery) -> Response {
    let response =
        Response::event(event).header("cache-control", "no-store").header("event-id", event.id().to_string());
    if event.maybe_delivered() { response.header("maybe-delivered", "true") } else { response }
}
