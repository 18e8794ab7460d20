//! Arbitrary fields where a client says what it has got: what nobody was given commits nothing, and the guest sees none of it.
#![no_main]

mod fields;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

use linger_events::{AckToken, AckTokens};
use linger_http::fuzzing::acknowledge;

static CONFIRMATIONS: LazyLock<AckTokens> = LazyLock::new(AckTokens::default);

fuzz_target!(|data: &[u8]| {
    let mut headers = fields::fields(data);
    let others = headers.len() - headers.get_all("linger-ack").iter().count();
    let sent: Vec<_> = headers.get_all("linger-ack").iter().cloned().collect();
    let outcome = acknowledge(&CONFIRMATIONS, &mut headers);
    assert_eq!(outcome.is_some(), !sent.is_empty());
    assert!(outcome.is_none_or(|outcome| outcome == "unknown"));
    assert_eq!(headers.len(), others);
    for text in sent.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')) {
        if let Ok(token) = text.parse::<AckToken>() {
            assert_eq!(token.to_string(), text.to_lowercase());
        }
    }
});
