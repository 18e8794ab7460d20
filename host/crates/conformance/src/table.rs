//! The cases.

use std::time::Duration;

use super::case::{EventSize, LeaveMode, PollRequest, Protocol, ReadPortion, RoundPlan, TestCase};

const ALL: &[Protocol] = &[Protocol::Http1, Protocol::Http1Tls, Protocol::Http2, Protocol::Http2Tls];
const ONE: &[Protocol] = &[Protocol::Http1, Protocol::Http1Tls];
const ONE_CLEAR: &[Protocol] = &[Protocol::Http1];
const ONE_TLS: &[Protocol] = &[Protocol::Http1Tls];
const TWO: &[Protocol] = &[Protocol::Http2, Protocol::Http2Tls];

/// The next poll gets the event.
const KEPT: &str = "the next poll gets the event, once";
/// The parked client gets the event.
const ANSWERED: &str = "the client that is there gets the event, once";
/// Either of the two.
const EITHER: &str = "the client that reads on or the next poll gets the event, once";
/// The event is gone.
const SPENT: &str = "the event does not come again";

/// How long the next poll waits for an event.
const NEXT_POLL: Duration = Duration::from_secs(2);

/// After this time a server should have made up its mind whether an answer was read.
const CONFIRMED: Duration = Duration::from_millis(1500);

const fn case(
    number: u32,
    name: &'static str,
    stimulus: &'static str,
    protocols: &'static [Protocol],
    play: RoundPlan,
) -> TestCase {
    let (expected, bound) = match play {
        RoundPlan::LeaveThenPush(_, LeaveMode::HalfClose | LeaveMode::CloseNotify) => (EITHER, NEXT_POLL),
        RoundPlan::Stay(_) => (ANSWERED, NEXT_POLL),
        RoundPlan::ReadThenClose(_) | RoundPlan::ReadThenAsk => (SPENT, CONFIRMED),
        _ => (KEPT, NEXT_POLL),
    };
    TestCase { number, name, stimulus, expected, bound, protocols, play }
}

const fn leave(
    number: u32,
    name: &'static str,
    stimulus: &'static str,
    protocols: &'static [Protocol],
    request: PollRequest,
    how: LeaveMode,
) -> TestCase {
    case(number, name, stimulus, protocols, RoundPlan::LeaveThenPush(request, how))
}

/// All cases that can be seen from outside. Not here are those that need a look into the server, a setting
/// of it (3, 5), or a network that goes silent (18, 19).
pub const CASES: &[TestCase] = &[
    case(0, "control", "stays, and behaves", ALL, RoundPlan::Stay(PollRequest::Plain)),
    leave(1, "close", "closes in order", ONE, PollRequest::Plain, LeaveMode::Close),
    leave(2, "reset", "resets the connection", ONE_CLEAR, PollRequest::Plain, LeaveMode::Reset),
    leave(
        4,
        "half-close",
        "closes its sending half, reads on",
        ONE,
        PollRequest::Plain,
        LeaveMode::HalfClose,
    ),
    case(
        6,
        "pipelined",
        "sends another request behind it, stays",
        ONE,
        RoundPlan::Stay(PollRequest::Pipelined),
    ),
    leave(
        7,
        "pipelined-close",
        "sends another poll behind it, closes",
        ONE_CLEAR,
        PollRequest::Pipelined,
        LeaveMode::Close,
    ),
    leave(
        7,
        "late-pipelined-close",
        "sends another poll a little later, closes",
        ONE_CLEAR,
        PollRequest::LatePipelined,
        LeaveMode::Close,
    ),
    leave(
        8,
        "pipelined-reset",
        "sends another poll behind it, resets",
        ONE_CLEAR,
        PollRequest::Pipelined,
        LeaveMode::Reset,
    ),
    leave(
        9,
        "stray-line",
        "sends an empty line behind it, closes",
        ONE,
        PollRequest::StrayLine,
        LeaveMode::Close,
    ),
    leave(
        9,
        "late-stray-line",
        "sends an empty line a little later, closes",
        ONE,
        PollRequest::LateStrayLine,
        LeaveMode::Close,
    ),
    leave(10, "small-body", "sends 20 bytes of body, closes", ONE, PollRequest::SmallBody, LeaveMode::Close),
    leave(11, "large-body", "sends 300 kB of body, closes", ONE, PollRequest::LargeBody, LeaveMode::Close),
    leave(
        11,
        "chunked-body",
        "sends a body in chunks, closes",
        ONE,
        PollRequest::ChunkedBody,
        LeaveMode::Close,
    ),
    leave(
        11,
        "expect-body",
        "waits for leave to send a body, closes",
        ONE,
        PollRequest::ExpectBody,
        LeaveMode::Close,
    ),
    leave(
        12,
        "endless-body",
        "sends body until nothing more is taken, resets",
        ONE,
        PollRequest::EndlessBody,
        LeaveMode::Reset,
    ),
    leave(13, "half-body", "sends half of its body, closes", ONE, PollRequest::HalfBody, LeaveMode::Close),
    leave(
        13,
        "half-chunks",
        "sends a chunk without an end, closes",
        ONE,
        PollRequest::HalfChunks,
        LeaveMode::Close,
    ),
    leave(
        14,
        "late-body",
        "sends half of its body 50 ms later, closes",
        ONE,
        PollRequest::LateBody,
        LeaveMode::Close,
    ),
    leave(
        16,
        "tls-close-notify",
        "sends close_notify, reads on",
        ONE_TLS,
        PollRequest::Plain,
        LeaveMode::CloseNotify,
    ),
    leave(16, "tls-fin", "closes without close_notify", ONE_TLS, PollRequest::Plain, LeaveMode::Fin),
    leave(16, "tls-reset", "resets the connection", ONE_TLS, PollRequest::Plain, LeaveMode::Reset),
    leave(
        17,
        "tls-pipelined-close",
        "sends another poll in a record of its own, closes",
        ONE_TLS,
        PollRequest::LatePipelined,
        LeaveMode::Close,
    ),
    leave(
        17,
        "tls-pipelined-fin",
        "sends another poll in a record of its own, closes without close_notify",
        ONE_TLS,
        PollRequest::LatePipelined,
        LeaveMode::Fin,
    ),
    leave(
        17,
        "tls-pipelined-reset",
        "sends another poll in a record of its own, resets",
        ONE_TLS,
        PollRequest::LatePipelined,
        LeaveMode::Reset,
    ),
    leave(20, "stream-reset", "resets its stream", TWO, PollRequest::Plain, LeaveMode::ResetStream),
    leave(
        20,
        "open-stream-reset",
        "resets its stream, whose body is still to come",
        TWO,
        PollRequest::OpenBody,
        LeaveMode::ResetStream,
    ),
    leave(21, "http2-close", "closes the connection", TWO, PollRequest::Plain, LeaveMode::Close),
    leave(21, "http2-reset", "resets the connection", TWO, PollRequest::Plain, LeaveMode::Reset),
    case(22, "goaway", "sends GOAWAY, stays", TWO, RoundPlan::Stay(PollRequest::GoAway)),
    case(23, "close-and-push", "closes as the event comes", ALL, RoundPlan::LeaveAndPush(LeaveMode::Close)),
    case(23, "reset-and-push", "resets as the event comes", ALL, RoundPlan::LeaveAndPush(LeaveMode::Reset)),
    case(
        23,
        "stream-reset-and-push",
        "resets its stream as the event comes",
        TWO,
        RoundPlan::LeaveAndPush(LeaveMode::ResetStream),
    ),
    case(
        24,
        "push-and-close",
        "closes before it has its answer",
        ALL,
        RoundPlan::PushAndLeave(LeaveMode::Close),
    ),
    case(
        24,
        "push-and-reset",
        "resets before it has its answer",
        ALL,
        RoundPlan::PushAndLeave(LeaveMode::Reset),
    ),
    case(
        24,
        "unread",
        "has its answer in the kernel, closes with all of it unread",
        ALL,
        RoundPlan::Unread(EventSize::Small, ReadPortion::None),
    ),
    case(
        24,
        "half-read",
        "has its answer in the kernel, reads half of it, closes",
        ALL,
        RoundPlan::Unread(EventSize::Small, ReadPortion::Half),
    ),
    case(
        24,
        "large-unread",
        "reads nothing of an answer of 256 KiB, closes",
        ALL,
        RoundPlan::Unread(EventSize::Large, ReadPortion::None),
    ),
    case(
        24,
        "large-half-read",
        "reads half of an answer of 256 KiB, closes",
        ALL,
        RoundPlan::Unread(EventSize::Large, ReadPortion::Half),
    ),
    case(26, "read-close", "reads its answer, closes", ALL, RoundPlan::ReadThenClose(EventSize::Small)),
    case(
        26,
        "large-read-close",
        "reads its answer of 256 KiB, closes",
        ALL,
        RoundPlan::ReadThenClose(EventSize::Large),
    ),
    case(27, "read-ask", "reads its answer, sends its next request", ALL, RoundPlan::ReadThenAsk),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_numbers_ascend() {
        let names: HashSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(CASES.is_sorted_by_key(|case| case.number));
        assert!(CASES.iter().all(|case| !case.protocols.is_empty()));
    }

    #[test]
    fn cases_apply_to_what_they_need() {
        for case in CASES {
            let (request, leave) = match case.play {
                RoundPlan::LeaveThenPush(request, leave) => (request, Some(leave)),
                RoundPlan::LeaveAndPush(leave) | RoundPlan::PushAndLeave(leave) => {
                    (PollRequest::Plain, Some(leave))
                }
                RoundPlan::Stay(request) => (request, None),
                _ => (PollRequest::Plain, None),
            };
            for protocol in case.protocols {
                let http2_only = matches!(request, PollRequest::OpenBody | PollRequest::GoAway)
                    || leave == Some(LeaveMode::ResetStream);
                assert!(!http2_only || protocol.is_http2(), "{}", case.name);
                let http1_only = !http2_only && request != PollRequest::Plain;
                assert!(!http1_only || !protocol.is_http2(), "{}", case.name);
                assert!(leave != Some(LeaveMode::CloseNotify) || protocol.is_tls(), "{}", case.name);
            }
        }
    }
}
