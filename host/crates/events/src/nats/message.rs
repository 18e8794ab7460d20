//! An event as a message of NATS.

use std::sync::Arc;

use async_nats::{HeaderMap, HeaderName, HeaderValue};

use crate::{EventId, NewEvent};

const MESSAGE_ID: &str = "Nats-Msg-Id";
const CONTENT_TYPE: &str = "Content-Type";
const DUE: &str = "Linger-Due";
const EXPIRES: &str = "Linger-Expires";
const ORIGIN: &str = "Linger-Origin";

/// What goes with an event beside its payload. Times are in milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventMetadata {
    pub(crate) content_type: Option<Arc<str>>,
    pub(crate) due: Option<u64>,
    pub(crate) expires: Option<u64>,
    pub(crate) origin: Option<DeadLetterOrigin>,
}

/// What a dead letter was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetterOrigin {
    pub(crate) id: EventId,
    /// How often it had been handed out.
    pub(crate) attempts: u32,
    pub(crate) maybe_delivered: bool,
}

impl EventMetadata {
    pub(crate) fn of(event: &NewEvent) -> Self {
        Self { content_type: event.content_type.clone(), ..Self::default() }
    }

    /// As headers. NATS stores one message of an `id` within some seconds, however often it is sent.
    pub(crate) fn headers(&self, id: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, id);
        if let Some(content_type) = &self.content_type {
            headers.insert(CONTENT_TYPE, &**content_type);
        }
        for (name, time) in [(DUE, self.due), (EXPIRES, self.expires)] {
            if let Some(time) = time {
                headers.insert(name, time.to_string());
            }
        }
        if let Some(DeadLetterOrigin { id, attempts, maybe_delivered }) = &self.origin {
            let EventId { epoch, number } = id;
            headers.insert(ORIGIN, format!("{epoch} {number} {attempts} {}", u8::from(*maybe_delivered)));
        }
        headers
    }

    /// Of a message. What is missing or makes no sense is left out: others can write to the subject too.
    pub(crate) fn read(headers: Option<&HeaderMap>) -> Self {
        let text = |name: &str| headers.and_then(|headers| headers.get(name)).map(HeaderValue::as_str);
        let time = |name| text(name).and_then(|text| text.parse().ok());
        Self {
            content_type: text(CONTENT_TYPE).filter(|text| crate::is_content_type(text)).map(Arc::from),
            due: time(DUE),
            expires: time(EXPIRES),
            origin: text(ORIGIN).and_then(origin),
        }
    }
}

fn origin(text: &str) -> Option<DeadLetterOrigin> {
    let mut words = text.split(' ');
    let id = EventId { epoch: words.next()?.parse().ok()?, number: words.next()?.parse().ok()? };
    Some(DeadLetterOrigin {
        id,
        attempts: words.next()?.parse().ok()?,
        maybe_delivered: words.next()? != "0",
    })
}

/// What a message takes in a stream on disk, in bytes, as NATS counts it.
pub(crate) fn stored_size(subject: &str, headers: Option<&HeaderMap>, data: usize) -> u64 {
    const RECORD: usize = 30;
    const HEADERS: usize = 4 + "NATS/1.0\r\n\r\n".len();
    let line = |(name, values): (&HeaderName, &Vec<HeaderValue>)| {
        let name: &str = name.as_ref();
        values.iter().map(|value| name.len() + value.as_str().len() + ": \r\n".len()).sum::<usize>()
    };
    let headers = headers.map_or(0, |headers| HEADERS + headers.iter().map(line).sum::<usize>());
    (RECORD + subject.len() + headers + data) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let particulars = EventMetadata {
            content_type: Some("text/plain; charset=utf-8".into()),
            due: Some(5),
            expires: Some(u64::MAX),
            origin: Some(DeadLetterOrigin {
                id: EventId { epoch: 7, number: 8 },
                attempts: 9,
                maybe_delivered: true,
            }),
        };
        assert_eq!(EventMetadata::read(Some(&particulars.headers("id"))), particulars);
        assert_eq!(EventMetadata::read(None), EventMetadata::default());
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let mut headers = HeaderMap::new();
        for (name, value) in [(DUE, "soon"), (EXPIRES, "-1"), (ORIGIN, "1 2 3"), (CONTENT_TYPE, "a\u{7f}")] {
            headers.insert(name, value);
        }
        assert_eq!(EventMetadata::read(Some(&headers)), EventMetadata::default());
    }
}
