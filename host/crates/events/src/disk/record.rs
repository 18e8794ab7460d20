//! Events as bytes.
//!
//! | what | key | value |
//! |---|---|---|
//! | event | queue, 0, sequence | life, flags, due, expires, payload |
//! | mark | the same | attempts, flags |
//! | published event | topic, 0, sequence | epoch, time, payload |
//! | epoch | topic, 0, first sequence, id | |
//! | payload | | length of the content type, content type, data |
//!
//! Numbers are big-endian, so that keys sort by name and then by age; a time that is not set is the largest. A
//! mark, if there is one, says what has become of its event since.

use std::sync::Arc;

use bytes::Bytes;

use linger_base::Name;

use crate::journal::{QueueRecord, TopicEpoch, TopicRecord};

const HANDED_OUT: u8 = 1;
const MAYBE_DELIVERED: u8 = 2;

const SEQUENCE: usize = size_of::<u64>();

pub(super) fn key(name: &Name, sequence: u64) -> Vec<u8> {
    let name = name.as_str();
    let mut key = Vec::with_capacity(name.len() + 1 + SEQUENCE);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

/// The value of a new event.
pub(super) fn event(record: &QueueRecord) -> Vec<u8> {
    let mut value = Vec::with_capacity(23 + 64 + record.data.len());
    value.extend_from_slice(&record.life.to_be_bytes());
    value.push(if record.handed_out { HANDED_OUT } else { 0 });
    value.extend_from_slice(&record.due.unwrap_or(u64::MAX).to_be_bytes());
    value.extend_from_slice(&record.expires.unwrap_or(u64::MAX).to_be_bytes());
    put_payload(&mut value, record.content_type.as_deref(), &record.data);
    value
}

/// The value of a published event.
pub(super) fn published(record: &TopicRecord) -> Vec<u8> {
    let mut value = Vec::with_capacity(14 + 64 + record.data.len());
    value.extend_from_slice(&record.epoch.to_be_bytes());
    value.extend_from_slice(&record.time.to_be_bytes());
    put_payload(&mut value, record.content_type.as_deref(), &record.data);
    value
}

fn put_payload(value: &mut Vec<u8>, content_type: Option<&str>, data: &[u8]) {
    let content_type = content_type.unwrap_or_default();
    // It is at most 256 bytes (see the guest's interface).
    value.extend_from_slice(&u16::try_from(content_type.len()).unwrap_or(u16::MAX).to_be_bytes());
    value.extend_from_slice(content_type.as_bytes());
    value.extend_from_slice(data);
}

/// The key of an epoch, which has no value.
pub(super) fn epoch_key(topic: &Name, epoch: TopicEpoch) -> Vec<u8> {
    let mut key = key(topic, epoch.first);
    key.extend_from_slice(&epoch.id.to_be_bytes());
    key
}

pub(super) fn mark(attempts: u32, maybe_delivered: bool, handed_out: bool) -> [u8; 5] {
    let [a, b, c, d] = attempts.to_be_bytes();
    let flags = if maybe_delivered { MAYBE_DELIVERED } else { 0 } | if handed_out { HANDED_OUT } else { 0 };
    [a, b, c, d, flags]
}

/// An event, from its key and its value.
pub(super) fn read_event(key: &[u8], value: &[u8]) -> Option<QueueRecord> {
    let (queue, sequence) = read_key(key)?;
    let (life, value) = value.split_first_chunk()?;
    let (&flags, value) = value.split_first()?;
    let (due, value) = value.split_first_chunk()?;
    let (expires, value) = value.split_first_chunk()?;
    let (content_type, data) = read_payload(value)?;
    let time = |bytes: [u8; 8]| Some(u64::from_be_bytes(bytes)).filter(|&time| time != u64::MAX);
    Some(QueueRecord {
        queue,
        sequence,
        life: u32::from_be_bytes(*life),
        data,
        content_type,
        due: time(*due),
        expires: time(*expires),
        attempts: 0,
        maybe_delivered: false,
        handed_out: flags & HANDED_OUT != 0,
    })
}

/// A published event, from its key and its value.
pub(super) fn read_published(key: &[u8], value: &[u8]) -> Option<TopicRecord> {
    let (topic, sequence) = read_key(key)?;
    let (epoch, value) = value.split_first_chunk()?;
    let (time, value) = value.split_first_chunk()?;
    let (content_type, data) = read_payload(value)?;
    let (epoch, time) = (u32::from_be_bytes(*epoch), u64::from_be_bytes(*time));
    (epoch != 0).then_some(TopicRecord { topic, sequence, epoch, time, data, content_type })
}

/// An epoch, from its key.
pub(super) fn read_epoch(key: &[u8]) -> Option<(Name, TopicEpoch)> {
    let (key, id) = key.split_last_chunk()?;
    let (topic, first) = read_key(key)?;
    let id = u32::from_be_bytes(*id);
    (id != 0).then_some((topic, TopicEpoch { first, id }))
}

fn read_key(key: &[u8]) -> Option<(Name, u64)> {
    let (name, sequence) = key.split_last_chunk::<SEQUENCE>()?;
    let name = std::str::from_utf8(name.strip_suffix(&[0])?).ok()?;
    let sequence = u64::from_be_bytes(*sequence);
    // The last numbers of all have no next ones.
    (sequence < u64::MAX / 2).then_some(())?;
    Some((name.parse().ok()?, sequence))
}

fn read_payload(value: &[u8]) -> Option<(Option<Arc<str>>, Bytes)> {
    let (length, rest) = value.split_first_chunk()?;
    let (content_type, data) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let content_type = std::str::from_utf8(content_type).ok()?;
    Some(((!content_type.is_empty()).then(|| content_type.into()), Bytes::copy_from_slice(data)))
}

/// What a mark says of its event.
pub(super) fn apply_mark(record: &mut QueueRecord, mark: &[u8]) -> Option<()> {
    let [a, b, c, d, flags] = *mark else { return None };
    record.attempts = u32::from_be_bytes([a, b, c, d]);
    record.maybe_delivered = flags & MAYBE_DELIVERED != 0;
    record.handed_out = flags & HANDED_OUT != 0;
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content_type() -> impl Strategy<Value = Option<Arc<str>>> {
        proptest::option::of("[a-z]{1,10}/[a-z]{1,10}".prop_map(Into::into))
    }

    prop_compose! {
        fn records()(
            queue in "[a-z][a-z0-9._-]{0,20}",
            (sequence, life) in (0..u64::MAX / 2, any::<u32>()),
            data in proptest::collection::vec(any::<u8>(), 0..100),
            content_type in content_type(),
            (due, expires) in (proptest::option::of(0..u64::MAX), proptest::option::of(0..u64::MAX)),
            handed_out in any::<bool>(),
        ) -> QueueRecord {
            let (queue, data) = (queue.parse().unwrap(), data.into());
            QueueRecord {
                queue, sequence, life, data, content_type, due, expires, attempts: 0, maybe_delivered: false, handed_out,
            }
        }
    }

    proptest! {
        #[test]
        fn event_that_was_written_is_read(
            mut record in records(),
            (attempts, maybe_delivered) in any::<(u32, bool)>(),
        ) {
            let mut read = read_event(&key(&record.queue, record.sequence), &event(&record)).unwrap();
            prop_assert_eq!(&read, &record);
            record.attempts = attempts;
            record.maybe_delivered = maybe_delivered;
            record.handed_out = !record.handed_out;
            apply_mark(&mut read, &mark(attempts, maybe_delivered, record.handed_out)).unwrap();
            prop_assert_eq!(read, record);
        }

        #[test]
        fn published_event_that_was_written_is_read(
            topic in "[a-z][a-z0-9._-]{0,20}",
            (sequence, epoch, time) in (0..u64::MAX / 2, 1..=u32::MAX, any::<u64>()),
            data in proptest::collection::vec(any::<u8>(), 0..100),
            content_type in content_type(),
        ) {
            let topic: Name = topic.parse().unwrap();
            let record = TopicRecord { topic: topic.clone(), sequence, epoch, time, data: data.into(), content_type };
            prop_assert_eq!(read_published(&key(&topic, sequence), &published(&record)), Some(record));
            let epoch = TopicEpoch { first: sequence, id: epoch };
            prop_assert_eq!(read_epoch(&epoch_key(&topic, epoch)), Some((topic, epoch)));
        }

        #[test]
        fn rubbish_is_nothing(key in proptest::collection::vec(any::<u8>(), 0..30), value in proptest::collection::vec(any::<u8>(), 0..40)) {
            // It may be something by chance; it must not panic.
            let _ = (read_event(&key, &value), read_published(&key, &value), read_epoch(&key));
        }

        #[test]
        fn keys_sort_by_name_and_age(a in "[a-c]{1,3}", b in "[a-c]{1,3}", (x, y) in any::<(u64, u64)>()) {
            let (name_a, name_b): (Name, Name) = (a.parse().unwrap(), b.parse().unwrap());
            prop_assert_eq!(key(&name_a, x).cmp(&key(&name_b, y)), (a, x).cmp(&(b, y)));
        }
    }
}
