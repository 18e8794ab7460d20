//! The frames of HTTP/2 in what passes, by their heads alone (RFC 9113, section 4.1).

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;

/// How long the payload is, and the type.
fn length_and_type(head: [u8; 4]) -> (usize, u8) {
    let [a, b, c, kind] = head;
    (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c), kind)
}

/// Whether a write has a part of a response in it. What cannot be read as frames is taken for one.
pub(crate) fn carries_response(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Some(&head) = bytes.first_chunk() else { return true };
        let (length, kind) = length_and_type(head);
        if matches!(kind, DATA | HEADERS) {
            return true;
        }
        bytes = bytes.get(HEAD + length..).unwrap_or(&[]);
    }
    false
}

/// Watches what a client sends for streams that it resets, however the bytes are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ResetWatcher {
    /// So much of the preface has come, which tells HTTP/2 from HTTP/1.1.
    Preface(usize),
    /// So many bytes are left of a frame of this type; its length and type are in the first four.
    Frame { head: [u8; 4], known: usize, left: usize },
    /// This is not HTTP/2.
    None,
}

impl Default for ResetWatcher {
    fn default() -> Self {
        Self::Preface(0)
    }
}

impl ResetWatcher {
    const NEXT: Self = Self::Frame { head: [0; 4], known: 0, left: 0 };

    /// Whether a frame that resets a stream begins in these bytes, the next that came.
    pub(crate) fn begin_in(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while let (Some(&byte), false) = (bytes.first(), matches!(self, Self::None)) {
            let passed = match self {
                Self::Frame { known: 4, left, .. } => {
                    let passed = bytes.len().min(*left);
                    *left -= passed;
                    passed
                }
                Self::Frame { head, known, left } => {
                    head[*known] = byte;
                    *known += 1;
                    if *known == head.len() {
                        let (length, kind) = length_and_type(*head);
                        *left = HEAD - head.len() + length;
                        found |= kind == RST_STREAM;
                    }
                    1
                }
                Self::Preface(known) if PREFACE[*known] == byte => {
                    *known += 1;
                    1
                }
                Self::Preface(_) | Self::None => {
                    *self = Self::None;
                    0
                }
            };
            bytes = &bytes[passed..];
            if matches!(self, Self::Frame { known: 4, left: 0, .. } | Self::Preface(24)) {
                *self = Self::NEXT;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UPDATE: &[u8] = b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01";
    const END: &[u8] = b"\0\0\0\0\x01\0\0\0\x01";
    const GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0";
    const RESET: &[u8] = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08";

    #[test]
    fn end_of_a_stream_is_found_behind_other_frames() {
        assert!(carries_response(END));
        assert!(carries_response(&[UPDATE, END].concat()));
        assert!(!carries_response(&[UPDATE, GOAWAY].concat()));
        assert!(carries_response(b"HT"));
    }

    #[test]
    fn http1_resets_no_stream() {
        let mut resets = ResetWatcher::default();
        assert!(!resets.begin_in(b"POST / HTTP/1.1\r\n\r\n"));
        assert!(!resets.begin_in(RESET));
    }

    proptest! {
        #[test]
        fn each_reset_is_found_once_however_the_bytes_are_cut(
            frames in proptest::collection::vec(
                prop_oneof![Just(UPDATE), Just(END), Just(GOAWAY), Just(RESET)], 0..20),
            size in 1..40_usize,
        ) {
            let bytes = [PREFACE, &frames.concat()].concat();
            let mut resets = ResetWatcher::default();
            let found = bytes.chunks(size).filter(|chunk| resets.begin_in(chunk)).count();
            let expected = frames.iter().filter(|frame| **frame == RESET).count();
            // A chunk may have several.
            prop_assert!(found <= expected && (found > 0) == (expected > 0));
            if size <= RESET.len() {
                prop_assert_eq!(found, expected);
            }
        }
    }
}
