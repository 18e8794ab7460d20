//! Answers that say why there is no other.

use linger_guest::{Error, EventError, Limit, Response};
use std::time::Duration;

/// The answer when a topic refused.
pub fn refused(error: EventError) -> Error {
    let sentence = error.to_string();
    let response = match error {
        EventError::InvalidName | EventError::InvalidContentType => refusal(400, &sentence),
        EventError::TooLarge { .. } => refusal(413, &sentence),
        EventError::OverLimit(Limit::TotalBytes | Limit::Names) => refusal(507, &sentence),
        EventError::OverLimit(_) => refusal(429, &sentence).retry_after(Duration::from_secs(1)),
        EventError::Unavailable => refusal(503, &sentence).retry_after(Duration::from_secs(1)),
        _ => return error.into(),
    };
    response.into()
}

/// An answer that says it in a sentence.
pub fn refusal(status: u16, sentence: &str) -> Response {
    Response::text(format!("{sentence}\n")).status(status)
}
