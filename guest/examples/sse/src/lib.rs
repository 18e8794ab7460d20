//! The events of a topic as they come, for browsers: an event stream, and a page that shows it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a page that shows the events of a topic, and publishes some |
//! | `GET /events/{topic}` | the events of the topic, as a `text/event-stream` that does not end |
//! | `?after=CURSOR` | those after the cursor; the header `last-event-id`, where there is one, wins |
//! | | without both: from the oldest event that the topic keeps; with `after=now`: from its end |
//! | `POST /publish/{topic}` | `202` and the cursor after the event: all who follow get it |
//!
//! What the stream holds:
//!
//! | message | meaning |
//! |---|---|
//! | `id: CURSOR`, `data: TEXT` | an event |
//! | `id: CURSOR`, `event: base64`, `data: BASE64` | an event that is not UTF-8 |
//! | `event: missed`, `data: N` | the topic no longer keeps the N events before the next one |
//! | `event: missed`, `data: unknown` | the topic began anew since, or never gave that cursor |
//! | `: keepalive` | there was no event for 15 seconds |
//!
//! Line ends within an event become `\n`, and its content type is not told: the format has no place for it.
//!
//! The stream ends when the server stops, when its route's deadline is over, or when another version of this
//! component takes over. `EventSource` then connects again, and goes on where it was.

mod answer;
mod events;

use answer::{refusal, refused};
use linger_guest::{Request, Response, Result, handler, topic};

/// The largest event that is read before the host is asked whether it takes it, in bytes.
const EVENT_LIMIT: usize = 1024 * 1024;

const PAGE: &str = include_str!("page.html");

handler!(route);

async fn route(request: Request) -> Result {
    let path = request.path().to_owned();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    match (request.method(), &path[..]) {
        ("GET", [""]) => Ok(Response::bytes(PAGE).header("content-type", "text/html; charset=utf-8")),
        ("GET", ["events", name]) => events::stream(name, &request).await,
        ("POST", ["publish", name]) => publish(name, request).await,
        (_, [""]) => Ok(refusal(405, "read the page by GET").header("allow", "GET")),
        (_, ["events", _]) => Ok(refusal(405, "read the events by GET").header("allow", "GET")),
        (_, ["publish", _]) => Ok(refusal(405, "publish an event by POST").header("allow", "POST")),
        _ => Ok(refusal(404, "there is GET /, GET /events/{topic} and POST /publish/{topic}")),
    }
}

async fn publish(name: &str, request: Request) -> Result {
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
