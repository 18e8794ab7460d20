use proptest::prelude::*;

use super::*;

const SPAN: Range<u64> = 100..200;

fn counts(acked: u64, received: u64) -> TcpCounters {
    TcpCounters { acked, received, ..TcpCounters::default() }
}

fn seen(acked: u64, end: Option<ConnectionEnd>) -> SocketObservation {
    SocketObservation { counts: counts(acked, 50), end, ..SocketObservation::default() }
}

fn judge(observations: &[SocketObservation]) -> Option<Receipt> {
    let mut tracker = ReceiptTracker::new(&SPAN, Some(50), false);
    observations.iter().find_map(|seen| tracker.observe(seen))
}

#[test]
fn close_after_the_acknowledgement_is_read() {
    for end in [ConnectionEnd::Closed, ConnectionEnd::ClosedThenReset] {
        assert_eq!(judge(&[seen(100, None), seen(200, Some(end))]), Some(Receipt::Read));
    }
}

#[test]
fn reset_after_the_acknowledgement_is_unread() {
    assert_eq!(judge(&[seen(200, None), seen(200, Some(ConnectionEnd::Reset))]), Some(Receipt::Unread));
}

#[test]
fn reset_by_a_proxy_says_nothing_of_what_was_acknowledged() {
    let judge = |half_closed, seen: &SocketObservation| {
        ReceiptTracker::new(&SPAN, Some(50), half_closed).whose_resets_tell_nothing(true).observe(seen)
    };
    assert_eq!(judge(false, &seen(200, Some(ConnectionEnd::Reset))), Some(Receipt::Acknowledged));
    assert_eq!(judge(true, &seen(200, Some(ConnectionEnd::ClosedThenReset))), Some(Receipt::Acknowledged));
    let undelivered = Receipt::Undelivered { maybe_delivered: true };
    assert_eq!(judge(false, &seen(199, Some(ConnectionEnd::Reset))), Some(undelivered));
    // Where the kernel tells what was read, it is known.
    let mut unix = seen(200, Some(ConnectionEnd::Reset));
    unix.counts.read = Some(150);
    assert_eq!(judge(false, &unix), Some(Receipt::Unread));
}

#[test]
fn end_before_the_acknowledgement_is_undelivered() {
    for (acked, end, maybe_delivered) in [
        // A reset does not bring the acknowledgement that was due.
        (100, ConnectionEnd::Reset, true),
        (150, ConnectionEnd::Reset, true),
        // Who had closed before got nothing.
        (100, ConnectionEnd::ClosedThenReset, false),
        (101, ConnectionEnd::ClosedThenReset, true),
        (100, ConnectionEnd::Unresponsive, true),
    ] {
        let receipt = judge(&[seen(100, None), seen(acked, Some(end))]);
        assert_eq!(receipt, Some(Receipt::Undelivered { maybe_delivered }), "{acked} {end:?}");
    }
    assert_eq!(
        judge(&[seen(100, Some(ConnectionEnd::Closed))]),
        None,
        "it may have been closed in one direction"
    );
}

#[test]
fn client_that_vanished_after_the_acknowledgement_had_it() {
    assert_eq!(judge(&[seen(200, Some(ConnectionEnd::Unresponsive))]), Some(Receipt::Acknowledged));
}

#[test]
fn next_request_counts_only_if_it_came_after_the_acknowledgement() {
    let with = |read| SocketObservation { next_request: Some(read), ..seen(200, None) };
    assert_eq!(judge(&[seen(200, None), with(50)]), None, "it was sent ahead");
    assert_eq!(judge(&[seen(200, None), with(90)]), Some(Receipt::Read));
}

#[test]
fn request_that_is_seen_with_the_acknowledgement_counts_after_a_round_trip() {
    let before = SocketObservation { counts: counts(100, 50), ..SocketObservation::default() };
    let after = |after| SocketObservation {
        counts: TcpCounters { min_rtt: Duration::from_millis(20), ..counts(200, 90) },
        next_request: Some(90),
        end: None,
        after: Duration::from_millis(after),
    };
    assert_eq!(judge(&[before, after(20)]), Some(Receipt::Read));
    assert_eq!(judge(&[before, after(19)]), None, "it was sent before the response was there");
    let unsent = SocketObservation { counts: TcpCounters { unsent: 1, ..before.counts }, ..before };
    assert_eq!(judge(&[unsent, after(20)]), None, "the response was not on its way yet");
    let mut lost = after(20);
    lost.counts.retransmitted = 1;
    assert_eq!(judge(&[before, lost]), None, "the response was sent again");
}

#[test]
fn client_that_was_half_closed_says_nothing_by_it() {
    let mut tracker = ReceiptTracker::new(&SPAN, Some(50), true);
    assert_eq!(tracker.observe(&seen(200, Some(ConnectionEnd::Closed))), None);
    assert_eq!(tracker.give_up(), Receipt::Acknowledged);
    assert_eq!(tracker.observe(&seen(200, Some(ConnectionEnd::ClosedThenReset))), Some(Receipt::Unread));
    let mut tracker = ReceiptTracker::new(&SPAN, Some(50), true);
    let undelivered = Receipt::Undelivered { maybe_delivered: true };
    assert_eq!(tracker.observe(&seen(100, Some(ConnectionEnd::ClosedThenReset))), Some(undelivered));
}

#[test]
fn time_decides_by_what_was_acknowledged() {
    let mut tracker = ReceiptTracker::new(&SPAN, Some(50), false);
    assert_eq!(tracker.observe(&seen(199, None)), None);
    assert_eq!(tracker.give_up(), Receipt::Undelivered { maybe_delivered: true });
    assert_eq!(tracker.observe(&seen(200, None)), None);
    assert_eq!(tracker.give_up(), Receipt::Acknowledged);
}

fn end() -> impl Strategy<Value = Option<ConnectionEnd>> {
    prop_oneof![
        4 => Just(None),
        1 => prop_oneof![
            Just(ConnectionEnd::Closed), Just(ConnectionEnd::ClosedThenReset), Just(ConnectionEnd::Reset), Just(ConnectionEnd::Unresponsive)
        ].prop_map(Some),
    ]
}

prop_compose! {
    /// What a kernel can say, one moment after the other: counts only grow, and what has ended stays so.
    fn history()(
        steps in prop::collection::vec((0..80_u64, 0..40_u64, 0..3_u32, end(), any::<bool>()), 1..12)
    ) -> Vec<SocketObservation> {
        let mut counts = TcpCounters { acked: SPAN.start, ..TcpCounters::default() };
        let (mut ended, mut next_request) = (None, None);
        steps.into_iter().map(|(acked, received, others, end, request)| {
            if ended.is_none() {
                counts.acked = (counts.acked + acked).min(SPAN.end + 20);
                counts.received += received;
                counts.unsent = others;
                ended = end;
            }
            if request { next_request = Some(counts.received); }
            SocketObservation { counts, end: ended, next_request, after: Duration::from_millis(1) }
        }).collect()
    }
}

proptest! {
    #[test]
    fn nothing_is_committed_that_was_not_acknowledged(history in history(), half_closed: bool) {
        let mut tracker = ReceiptTracker::new(&SPAN, Some(0), half_closed);
        for seen in &history {
            let receipt = tracker.observe(seen).unwrap_or_else(|| tracker.give_up());
            let acknowledged = seen.counts.acked >= SPAN.end;
            let undelivered = matches!(receipt, Receipt::Undelivered { .. });
            prop_assert_eq!(acknowledged, !undelivered);
            prop_assert!(receipt != Receipt::Written);
        }
    }

    #[test]
    fn any_acknowledged_byte_flags(history in history(), half_closed: bool) {
        let mut tracker = ReceiptTracker::new(&SPAN, Some(0), half_closed);
        for seen in &history {
            let receipt = tracker.observe(seen).unwrap_or_else(|| tracker.give_up());
            if seen.counts.acked > SPAN.start {
                prop_assert_ne!(receipt, Receipt::Undelivered { maybe_delivered: false });
            }
        }
    }

    #[test]
    fn reset_without_a_later_request_is_never_read(history in history()) {
        let mut tracker = ReceiptTracker::new(&SPAN, Some(50), false);
        for seen in &history {
            let receipt = tracker.observe(&SocketObservation { next_request: None, ..*seen });
            if seen.end == Some(ConnectionEnd::Reset) {
                let bad = matches!(receipt, Some(Receipt::Unread | Receipt::Undelivered { .. }));
                prop_assert!(bad);
                break;
            }
            if receipt.is_some() {
                break;
            }
        }
    }

    #[test]
    fn every_end_of_a_connection_is_final_or_a_close(history in history()) {
        let mut tracker = ReceiptTracker::new(&SPAN, Some(50), false);
        for seen in &history {
            let receipt = tracker.observe(seen);
            if let Some(end) = seen.end {
                prop_assert!(receipt.is_some() || end == ConnectionEnd::Closed);
            }
        }
    }
}
