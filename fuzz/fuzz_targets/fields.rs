//! The fields of a request's head from an input of the fuzzer: a field in each line.

use http::{HeaderMap, HeaderName, HeaderValue};

/// What of it makes fields. What does not never gets as far as to the parsers.
pub fn fields(data: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            // There are fewer on a connection, too.
            if fields.len() < 1_000 {
                fields.append(name, value);
            }
        }
    }
    fields
}
