//! Answers without an event.

use linger_guest::{Error, EventError, Limit, Reason, Response};
use std::time::Duration;

/// What a client waits that may try again.
const SOON: Duration = Duration::from_secs(1);

/// No event came: the client asks again.
pub fn nothing() -> Response {
    Response::empty().header("cache-control", "no-store")
}

/// The answer to a client whose wait should end. Whoever left does not get it.
pub fn stopped(reason: Reason) -> Response {
    match reason {
        Reason::Shutdown => refusal(503, "the server is stopping").retry_after(Duration::ZERO),
        _ => nothing(),
    }
}

/// The answer when a queue or a topic refused.
pub fn refused(error: EventError) -> Error {
    let sentence = error.to_string();
    let response = match error {
        EventError::InvalidName | EventError::InvalidContentType | EventError::InvalidCursor => {
            refusal(400, &sentence)
        }
        EventError::TooLarge { .. } => refusal(413, &sentence),
        // No request holds more than one delivery here: that would be a mistake of this handler.
        EventError::OverLimit(Limit::Deliveries) => return error.into(),
        EventError::OverLimit(Limit::TotalBytes | Limit::Names) => refusal(507, &sentence),
        EventError::OverLimit(_) => refusal(429, &sentence).retry_after(SOON),
        EventError::Cancelled(reason) => stopped(reason),
        EventError::Unavailable => refusal(503, &sentence).retry_after(SOON),
        _ => return error.into(),
    };
    response.into()
}

/// An answer that says in a sentence why there is no other.
pub fn refusal(status: u16, sentence: &str) -> Response {
    Response::text(format!("{sentence}\n")).status(status)
}
