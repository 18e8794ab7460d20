//! Long polling over queues.
//!
//! | request | answer |
//! |---|---|
//! | `POST /push/{queue}` | `202` and the event's id: the body and its content type are stored |
//! | `GET /poll/{queue}?wait=SECONDS` | `200` and one event, as soon as there is one; `event-id` names it |
//! | | the same with `maybe-delivered: true` when an earlier client may have got it |
//! | | `204` when there was none for that long: 5 seconds if not said, at most 60 |
//! | | `503` with `retry-after: 0` when the server stops: another one may have taken over |
//!
//! An event whose client left before it got all of it is back in its queue: nothing here has to see to that.

use linger_guest::{
    Delivery, Error, QueueError, Reason, Request, Response, Result, cancellation, handler, queue, select,
    sleep,
};
use std::time::Duration;

/// The largest event that is read before the host is asked whether it takes it, in bytes.
const EVENT_LIMIT: usize = 1024 * 1024;

/// How long a poll waits, in seconds, when it does not say, and at most.
const WAIT: u64 = 5;
const WAIT_LIMIT: u64 = 60;

/// What even a poll that does not wait leaves the store to find an event that is there.
const LOOK: Duration = Duration::from_millis(20);

handler!(route);

async fn route(request: Request) -> Result {
    let path = request.path().to_owned();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    match (request.method(), &path[..]) {
        ("POST", ["push", name]) => push(name, request).await,
        ("GET", ["poll", name]) => poll(name, &request).await,
        (_, ["push", _]) => Ok(refusal(405, "push an event by POST").header("allow", "POST")),
        (_, ["poll", _]) => Ok(refusal(405, "poll by GET").header("allow", "GET")),
        _ => Ok(refusal(404, "there is POST /push/{queue} and GET /poll/{queue}")),
    }
}

async fn push(name: &str, request: Request) -> Result {
    let content_type = request.header("content-type");
    let data = request.into_body().bytes(EVENT_LIMIT).await?;
    let id = queue(name).push(&data, content_type.as_deref()).await.map_err(refused)?;
    Ok(Response::text(format!("{id}\n")).status(202))
}

async fn poll(name: &str, request: &Request) -> Result {
    let wait = wait(request)?;
    select! {
        reason = cancellation().cancelled() => Ok(stopped(reason)),
        event = queue(name).take() => {
            let event = event.map_err(refused)?;
            Ok(delivered(&event))
        }
        () = sleep(wait.max(LOOK)) => Ok(nothing()),
    }
}

fn wait(request: &Request) -> Result<Duration> {
    let Some(given) = request.query("wait") else {
        return Ok(Duration::from_secs(WAIT));
    };
    match given.parse() {
        Ok(seconds @ 0..=WAIT_LIMIT) => Ok(Duration::from_secs(seconds)),
        _ => {
            let range = format!("a whole number of seconds from 0 to {WAIT_LIMIT}");
            Err(refusal(400, &format!("wait is {range}, not {given:?}")).into())
        }
    }
}

/// The answer with an event.
fn delivered(event: &Delivery) -> Response {
    let kind = event.content_type().unwrap_or_else(|| "application/octet-stream".into());
    let response = Response::bytes(event.data())
        .header("content-type", kind)
        .header("cache-control", "no-store")
        .header("event-id", event.id());
    if event.maybe_delivered() { response.header("maybe-delivered", "true") } else { response }
}

/// No event came: the client polls again.
fn nothing() -> Response {
    Response::empty().header("cache-control", "no-store")
}

/// The answer to a poll that should end. Whoever left does not get it.
fn stopped(reason: Reason) -> Response {
    match reason {
        Reason::Shutdown => refusal(503, "the server is stopping").retry_after(Duration::ZERO),
        _ => nothing(),
    }
}

/// The answer when a queue refused.
fn refused(error: QueueError) -> Error {
    let response = match &error {
        QueueError::InvalidName | QueueError::InvalidContentType => refusal(400, &error.to_string()),
        QueueError::TooLarge { .. } => refusal(413, &error.to_string()),
        QueueError::Full => refusal(503, &error.to_string()).retry_after(Duration::from_secs(1)),
        QueueError::Cancelled(reason) => stopped(*reason),
        QueueError::Unavailable(_) => {
            eprintln!("{error}");
            refusal(503, "the queue is unavailable").retry_after(Duration::from_secs(1))
        }
        _ => return error.into(),
    };
    response.into()
}

fn refusal(status: u16, sentence: &str) -> Response {
    Response::text(format!("{sentence}\n")).status(status)
}
