//! Deliveries that only their clients can commit (`commit = "client"`): a client that got the response sends the
//! token that came with it back in a later request. For clients behind proxies, whose receipts are the proxies'.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures::FutureExt as _;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::{Delivery, Settlement};

/// Stands for the deliveries of one response. Whoever has it can commit them, once: it has 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckToken(u128);

/// The tokens that are out.
#[derive(Debug, Default)]
pub struct AckTokens(Mutex<AckTokenTable>);

#[derive(Debug, Default)]
struct AckTokenTable {
    awaited: HashMap<AckToken, Vec<Arc<Delivery>>>,
    /// Until when each token is good, once its response has ended.
    ends: BTreeSet<(Instant, AckToken)>,
}

impl AckTokens {
    /// A token for the deliveries of a response that is about to be sent. None if the system has no random bytes:
    /// then the deliveries return when their time is over.
    pub fn issue(&self, deliveries: Vec<Arc<Delivery>>) -> Option<AckToken> {
        let mut bytes = [0; 16];
        if let Err(error) = getrandom::fill(&mut bytes) {
            tracing::error!("cannot get random bytes for `linger-delivery`: {error}");
            return None;
        }
        let token = AckToken(u128::from_ne_bytes(bytes));
        let mut state = self.state();
        let gone = state.sweep(Instant::now());
        state.awaited.insert(token, deliveries);
        drop(state);
        // Outside of the lock: they return to their queues.
        drop(gone);
        Some(token)
    }

    /// The client has received the response: acknowledges its deliveries that are still leased. Returns whether all were:
    /// not so for a token that is unknown, was used, or whose time is over.
    pub fn ack(&self, token: AckToken) -> bool {
        let Some(deliveries) = self.state().awaited.remove(&token) else { return false };
        let mut all = true;
        for delivery in deliveries {
            let commit = delivery.claim().map(|lease| lease.settle(Settlement::Ack).now_or_never());
            // The call starts the work, and a lease that has run out says so at once.
            all &= matches!(commit, Ok(None | Some(Ok(()))));
        }
        all
    }

    /// The response has ended, and what was taken for it was settled or has its time from now on.
    pub fn record_response_end(&self, token: AckToken) {
        let now = Instant::now();
        let mut state = self.state();
        let mut gone = state.sweep(now);
        let time =
            state.awaited.get(&token).and_then(|held| held.iter().filter_map(|held| held.time()).max());
        match time {
            Some(time) => drop(state.ends.insert((now + time, token))),
            None => gone.extend(state.awaited.remove(&token)),
        }
        drop(state);
        // Outside of the lock: they return to their queues.
        drop(gone);
    }

    fn state(&self) -> MutexGuard<'_, AckTokenTable> {
        self.0.lock()
    }
}

impl AckTokenTable {
    /// Takes out what is over. The store's own clock has put it back, or is about to.
    fn sweep(&mut self, now: Instant) -> Vec<Vec<Arc<Delivery>>> {
        let mut gone = Vec::new();
        while let Some(&(end, token)) = self.ends.first().filter(|(end, _)| *end <= now) {
            self.ends.remove(&(end, token));
            gone.extend(self.awaited.remove(&token));
        }
        gone
    }
}

impl fmt::Display for AckToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Tokens are secrets of their clients, and stay out of the log.
impl fmt::Debug for AckToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl FromStr for AckToken {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_token = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_token {
            return Err(());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use linger_base::Name;
    use linger_config::{QueuesConfig, TopicsConfig};

    use super::*;
    use crate::local::MemoryStore;
    use crate::{Deliveries, Event, EventStore, Lease, NewEvent, Schedule};

    struct Fixture {
        store: Arc<MemoryStore>,
        ack_tokens: AckTokens,
        queue: Name,
    }

    fn fixture(text: &str) -> Fixture {
        let queues: QueuesConfig = toml::from_str(text).unwrap();
        let store = MemoryStore::new(queues, TopicsConfig::default());
        Fixture { store, ack_tokens: AckTokens::default(), queue: "q".parse().unwrap() }
    }

    impl Fixture {
        fn push(&self, text: &'static str) {
            let event = NewEvent { data: Bytes::from_static(text.as_bytes()), content_type: None };
            self.store.clone().push(&self.queue, event, Schedule::default()).now_or_never().unwrap().unwrap();
        }

        fn take(&self) -> Option<Lease> {
            self.store.clone().take(&self.queue).now_or_never().map(Result::unwrap)
        }

        /// A response with one event has been sent, and its receipt is good.
        fn respond(&self) -> AckToken {
            let deliveries = Deliveries::new(10);
            deliveries.hold(self.take().unwrap()).unwrap().see();
            let token = self.ack_tokens.issue(deliveries.await_client()).unwrap();
            deliveries.settle(Settlement::Ack);
            self.ack_tokens.record_response_end(token);
            token
        }

        fn outstanding(&self) -> usize {
            self.ack_tokens.state().awaited.len()
        }
    }

    fn seen(event: &Event) -> (&[u8], u32, bool) {
        (&event.data, event.attempt, event.maybe_delivered)
    }

    #[tokio::test]
    async fn confirmed_event_is_gone_and_its_token_too() {
        let f = fixture("commit = 'client'");
        f.push("a");
        let token = f.respond();
        assert!(f.take().is_none());
        assert_eq!(f.store.usage().events, 1, "no receipt commits it");
        assert!(f.ack_tokens.ack(token.to_string().parse().unwrap()));
        assert_eq!(f.store.usage().events, 0);
        assert!(!f.ack_tokens.ack(token));
        assert_eq!(f.outstanding(), 0);
    }

    #[tokio::test]
    async fn event_that_nobody_confirms_returns_flagged_after_the_lease() {
        let f = fixture("commit = 'client'\nlease = '40ms'");
        f.push("a");
        let token = f.respond();
        let returned = f.store.clone().take(&f.queue);
        let lease = tokio::select! {
            () = f.store.clone().keep_time() => unreachable!(),
            lease = returned => lease.unwrap(),
        };
        assert!(!f.ack_tokens.ack(token), "too late");
        assert_eq!(seen(lease.event()), (&b"a"[..], 2, true));
    }

    #[tokio::test]
    async fn token_that_is_over_is_swept_and_its_event_flagged() {
        let f = fixture("commit = 'client'\nlease = '1ms'");
        f.push("a");
        f.respond();
        // Nobody keeps the time of this store.
        tokio::time::sleep(Duration::from_millis(2)).await;
        f.push("b");
        f.respond();
        assert_eq!(f.outstanding(), 1);
        assert_eq!(seen(f.take().unwrap().event()), (&b"a"[..], 2, true));
    }

    #[tokio::test]
    async fn response_that_did_not_arrive_leaves_no_token() {
        let f = fixture("commit = 'client'");
        f.push("a");
        let deliveries = Deliveries::new(10);
        deliveries.hold(f.take().unwrap()).unwrap();
        let token = f.ack_tokens.issue(deliveries.await_client()).unwrap();
        deliveries.settle(Settlement::Requeue { maybe_delivered: false });
        f.ack_tokens.record_response_end(token);
        assert_eq!(f.outstanding(), 0);
        assert_eq!(seen(f.take().unwrap().event()), (&b"a"[..], 2, false));
    }

    #[tokio::test]
    async fn client_can_confirm_what_the_receipt_says_it_has_not_read() {
        let f = fixture("commit = 'client'");
        f.push("a");
        let deliveries = Deliveries::new(10);
        deliveries.hold(f.take().unwrap()).unwrap().see();
        let token = f.ack_tokens.issue(deliveries.await_client()).unwrap();
        deliveries.settle(Settlement::Requeue { maybe_delivered: true });
        f.ack_tokens.record_response_end(token);
        assert!(f.take().is_none());
        assert!(f.ack_tokens.ack(token));
        assert_eq!(f.store.usage().events, 0);
    }

    #[tokio::test]
    async fn receipt_commits_what_was_not_asked_for() {
        let f = fixture("");
        f.push("a");
        let deliveries = Deliveries::new(10);
        deliveries.hold(f.take().unwrap()).unwrap();
        assert!(deliveries.await_client().is_empty());
        deliveries.settle(Settlement::Ack);
        assert_eq!(f.store.usage().events, 0);
    }

    #[test]
    fn token_is_32_hexadecimal_digits() {
        for text in ["", "0", &"g".repeat(32), &"0".repeat(33), &format!("+{}", "0".repeat(31))] {
            assert_eq!(text.parse::<AckToken>(), Err(()), "{text}");
        }
        let token: AckToken = "00112233445566778899aabbccddeeff".parse().unwrap();
        assert_eq!(token.to_string(), "00112233445566778899aabbccddeeff");
        assert!(!format!("{token:?}").contains("1122"));
    }
}
