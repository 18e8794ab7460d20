//! Deliveries that only their clients can acknowledge: a response has `linger-delivery: TOKEN`, and a later request
//! of the client, whichever it is, sends `linger-ack: TOKEN`.

use http::{HeaderMap, HeaderName, HeaderValue};

use linger_events::{AckToken, AckTokens};

const DELIVERY: HeaderName = HeaderName::from_static("linger-delivery");
const ACK: HeaderName = HeaderName::from_static("linger-ack");

/// Commits what the client of a request says that it got: one token or several, with commas between. Gives what
/// is answered to that, and takes the header away: it is for the host.
pub(crate) fn acknowledge(ack_tokens: &AckTokens, request: &mut HeaderMap) -> Option<HeaderValue> {
    if !request.contains_key(&ACK) {
        return None;
    }
    let tokens = request.get_all(&ACK).iter().flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let mut all = true;
    for token in tokens {
        all &= token.trim().parse().is_ok_and(|token: AckToken| ack_tokens.ack(token));
    }
    request.remove(&ACK);
    Some(HeaderValue::from_static(if all { "committed" } else { "unknown" }))
}

/// What came of the client's acknowledgement.
pub(crate) fn put_outcome(response: &mut HeaderMap, outcome: Option<HeaderValue>) {
    if let Some(outcome) = outcome {
        response.insert(ACK, outcome);
    }
}

/// The token of what the response delivers.
pub(crate) fn put_token(response: &mut HeaderMap, token: AckToken) {
    if let Ok(mut value) = HeaderValue::from_str(&token.to_string()) {
        value.set_sensitive(true);
        response.insert(DELIVERY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(values: &[&str]) -> Option<String> {
        let ack_tokens = AckTokens::default();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACK, HeaderValue::from_str(value).unwrap());
        }
        let outcome = acknowledge(&ack_tokens, &mut headers);
        assert!(headers.is_empty());
        outcome.map(|outcome| outcome.to_str().unwrap().to_owned())
    }

    #[test]
    fn request_without_a_token_is_not_answered_to() {
        assert_eq!(outcome(&[]), None);
    }

    #[test]
    fn token_that_nobody_gave_is_unknown() {
        for values in [&[""][..], &["x"], &["00112233445566778899aabbccddeeff"], &["a, b", "c"]] {
            assert_eq!(outcome(values).as_deref(), Some("unknown"), "{values:?}");
        }
    }
}
