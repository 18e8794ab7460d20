//! The event stream of a topic.

use crate::answer::refused;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use linger_guest::sse::Message;
use linger_guest::{
    Batch, BodyWriter, EventError, Request, Response, Result, Topic, cancellation, select, sleep, topic,
};
use std::error::Error;
use std::time::Duration;

/// How long a client waits that connects again.
const RETRY: Duration = Duration::from_secs(1);

/// How long a stream is quiet: less than what proxies mostly wait for.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How many events are read at a time.
const BATCH: u32 = 100;

/// How many bytes are sent at a time, or one event more: the memory of this component holds many streams.
const CHUNK: usize = 64 * 1024;

pub async fn stream(name: &str, request: &Request) -> Result {
    let after = request.header("last-event-id").or_else(|| request.query("after"));
    let topic = topic(name);
    // Of all refusals this alone is told by a status: after one, a browser does not connect again.
    let end = match topic.end().await {
        Err(error @ EventError::InvalidName) => return Err(refused(error)),
        end => end,
    };
    let response = Response::stream(async move |body| {
        select! {
            // The end in order of a stream that the client goes on with elsewhere, or of one that nobody reads.
            _ = cancellation().cancelled() => Ok(()),
            ended = follow(&topic, after, end, body) => ended,
        }
    });
    Ok(response
        .header("content-type", "text/event-stream")
        .header("cache-control", "no-store")
        .header("x-accel-buffering", "no"))
}

/// Writes the events of a topic for as long as somebody reads.
async fn follow(
    topic: &Topic,
    mut after: Option<String>,
    end: Result<String, EventError>,
    body: &mut BodyWriter,
) -> Result<(), Box<dyn Error>> {
    let mut head = Message::new().retry(RETRY);
    if after.as_deref() == Some("now") {
        let now = end?;
        // A client that is cut off before its first event goes on from here, too.
        head = head.id(&now);
        after = Some(now);
    }
    body.send(head).await?;
    loop {
        select! {
            batch = topic.read(after.as_deref(), BATCH) => match batch {
                Ok(batch) => {
                    send(&batch, body).await?;
                    after = Some(batch.next);
                }
                // By a status the client would learn that it must not come back.
                Err(EventError::InvalidCursor) => {
                    body.send(missed("unknown")).await?;
                    after = None;
                }
                Err(EventError::Cancelled(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
            () = sleep(KEEPALIVE) => body.send(Message::new().comment("keepalive")).await?,
        }
    }
}

/// Writes the events of a batch, in one chunk if they are small, and first what is missing before them.
async fn send(batch: &Batch, body: &mut BodyWriter) -> Result<(), Box<dyn Error>> {
    let mut chunk = match batch {
        Batch { restarted: true, .. } => missed("unknown").to_string(),
        Batch { missed: 0, .. } => String::new(),
        Batch { missed: count, .. } => missed(&count.to_string()).to_string(),
    };
    for event in &batch.events {
        if chunk.len() >= CHUNK {
            body.send(std::mem::take(&mut chunk)).await?;
        }
        chunk += &message(&event.cursor(), event.data()).to_string();
    }
    Ok(body.send(chunk).await?)
}

/// What the client gets of an event.
fn message(cursor: &str, data: Vec<u8>) -> Message {
    let message = Message::new().id(cursor);
    match String::from_utf8(data) {
        Ok(text) => message.data(&text),
        Err(error) => message.event("base64").data(&BASE64_STANDARD.encode(error.as_bytes())),
    }
}

/// Tells how many events are no longer kept.
fn missed(count: &str) -> Message {
    Message::new().event("missed").data(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_that_is_not_text_is_sent_as_base64() {
        assert_eq!(message("7", b"a\nb".to_vec()).to_string(), "id: 7\ndata: a\ndata: b\n\n");
        assert_eq!(message("8", vec![0xff]).to_string(), "id: 8\nevent: base64\ndata: /w==\n\n");
    }
}
