//! Answers without an event.

use crate::bindings::{EventError, Limit, Reason};
use crate::http::Answer;

/// No event came: the client asks again.
pub fn nothing() -> Answer {
    Answer::new(204, "").header("cache-control", "no-store")
}

/// The answer to a client whose wait should end. Whoever left does not get it.
pub fn stopped(reason: Reason) -> Answer {
    match reason {
        Reason::Shutdown => refusal(503, "the server is stopping").header("retry-after", "0"),
        _ => nothing(),
    }
}

/// The answer when a queue or a topic refused.
pub fn refused(error: EventError) -> Answer {
    match error {
        EventError::InvalidName => refusal(
            400,
            "a name is 1 to 128 letters, digits, '-', '_' or '.', starting with a letter or a digit",
        ),
        EventError::InvalidContentType => {
            refusal(400, "a content type is at most 256 bytes that a header can hold")
        }
        EventError::InvalidCursor => refusal(400, "a cursor is one that the topic gave"),
        EventError::TooLarge(limit) => refusal(413, &format!("an event is at most {limit} bytes")),
        EventError::OverLimit(limit) => over(limit),
        EventError::Cancelled(reason) => stopped(reason),
        EventError::Unavailable => refusal(503, "the store is unavailable").header("retry-after", "1"),
        EventError::Settled => failed("the delivery was settled before"),
    }
}

/// The answer when a limit is reached: whether it is worth while to try again soon.
fn over(limit: Limit) -> Answer {
    let full = |what| refusal(507, what);
    let busy = |what| refusal(429, what).header("retry-after", "1");
    match limit {
        Limit::Events => busy("the queue holds as many events as the host allows"),
        Limit::Bytes => busy("the queue holds as many bytes as the host allows"),
        Limit::Waiters => busy("as many wait for an event here as the host allows"),
        Limit::TotalBytes => {
            full("all queues, or all topics, together hold as many bytes as the host allows")
        }
        Limit::Names => full("there are as many queues, or topics, as the host allows"),
        // No request holds more than one delivery here: that would be a mistake of this handler.
        Limit::Deliveries => failed("the request holds as many deliveries as the host allows"),
    }
}

/// The answer to a mistake of this handler, of which the client learns nothing more.
fn failed(how: &str) -> Answer {
    eprintln!("the handler failed: {how}");
    refusal(500, "Internal Server Error")
}

/// An answer that says in a sentence why there is no other.
pub fn refusal(status: u16, sentence: &str) -> Answer {
    Answer::text(status, format!("{sentence}\n"))
}
