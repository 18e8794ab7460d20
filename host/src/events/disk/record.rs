//! Events as bytes.
//!
//! | what | key | value |
//! |---|---|---|
//! | event | queue, 0, sequence | life, flags, length of the content type, content type, data |
//! | mark | the same | attempts, flags |
//!
//! Numbers are big-endian, so that keys sort by queue and then by age. A mark, if there is one, says what has
//! become of its event since.

use bytes::Bytes;

use crate::events::QueueName;
use crate::events::journal::Record;

const HANDED_OUT: u8 = 1;
const MAYBE_DELIVERED: u8 = 2;

const SEQUENCE: usize = size_of::<u64>();

pub(super) fn key(queue: &QueueName, sequence: u64) -> Vec<u8> {
    let name = queue.as_str();
    let mut key = Vec::with_capacity(name.len() + 1 + SEQUENCE);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

/// The value of a new event.
pub(super) fn event(record: &Record) -> Vec<u8> {
    let content_type = record.content_type.as_deref().unwrap_or_default();
    let mut value = Vec::with_capacity(7 + content_type.len() + record.data.len());
    value.extend_from_slice(&record.life.to_be_bytes());
    value.push(if record.handed_out { HANDED_OUT } else { 0 });
    // It is at most 256 bytes (see the guest's interface).
    value.extend_from_slice(&u16::try_from(content_type.len()).unwrap_or(u16::MAX).to_be_bytes());
    value.extend_from_slice(content_type.as_bytes());
    value.extend_from_slice(&record.data);
    value
}

pub(super) fn mark(attempts: u32, maybe_delivered: bool, handed_out: bool) -> [u8; 5] {
    let [a, b, c, d] = attempts.to_be_bytes();
    let flags = if maybe_delivered { MAYBE_DELIVERED } else { 0 } | if handed_out { HANDED_OUT } else { 0 };
    [a, b, c, d, flags]
}

/// An event, from its key and its value.
pub(super) fn read_event(key: &[u8], value: &[u8]) -> Option<Record> {
    let (name, sequence) = key.split_at_checked(key.len().checked_sub(SEQUENCE)?)?;
    let name = name.strip_suffix(&[0])?;
    let (life, rest) = value.split_first_chunk()?;
    let (&flags, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (content_type, data) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let content_type = std::str::from_utf8(content_type).ok()?;
    Some(Record {
        queue: std::str::from_utf8(name).ok()?.parse().ok()?,
        sequence: u64::from_be_bytes(sequence.try_into().ok()?),
        life: u32::from_be_bytes(*life),
        data: Bytes::copy_from_slice(data),
        content_type: (!content_type.is_empty()).then(|| content_type.into()),
        attempts: 0,
        maybe_delivered: false,
        handed_out: flags & HANDED_OUT != 0,
    })
}

/// What a mark says of its event.
pub(super) fn apply_mark(record: &mut Record, mark: &[u8]) -> Option<()> {
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

    proptest! {
        #[test]
        fn what_was_written_is_read(
            queue in "[a-z][a-z0-9._-]{0,20}",
            (sequence, life, attempts) in any::<(u64, u32, u32)>(),
            data in proptest::collection::vec(any::<u8>(), 0..100),
            content_type in proptest::option::of("[a-z]{1,10}/[a-z]{1,10}"),
            (maybe_delivered, handed_out) in any::<(bool, bool)>(),
        ) {
            let mut record = Record {
                queue: queue.parse().unwrap(),
                sequence,
                life,
                data: data.into(),
                content_type: content_type.map(Into::into),
                attempts: 0,
                maybe_delivered: false,
                handed_out,
            };
            let mut read = read_event(&key(&record.queue, sequence), &event(&record)).unwrap();
            prop_assert_eq!(&read, &record);
            record.attempts = attempts;
            record.maybe_delivered = maybe_delivered;
            record.handed_out = !handed_out;
            apply_mark(&mut read, &mark(attempts, maybe_delivered, !handed_out)).unwrap();
            prop_assert_eq!(read, record);
        }

        #[test]
        fn rubbish_is_no_event(key in proptest::collection::vec(any::<u8>(), 0..30), value in proptest::collection::vec(any::<u8>(), 0..30)) {
            // It may be one by chance; it must not panic.
            let _ = read_event(&key, &value);
        }

        #[test]
        fn keys_sort_by_queue_and_age(a in "[a-c]{1,3}", b in "[a-c]{1,3}", (x, y) in any::<(u64, u64)>()) {
            let (queue_a, queue_b): (QueueName, QueueName) = (a.parse().unwrap(), b.parse().unwrap());
            prop_assert_eq!(key(&queue_a, x).cmp(&key(&queue_b, y)), (a, x).cmp(&(b, y)));
        }
    }
}
