//! Streams that this host has made sure of: each is made or found once, whoever wants it, and again when it is doubted.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use linger_base::Name;

use crate::StoreError;
use crate::nats::NatsContext;
use crate::nats::client::NatsError;
use crate::nats::names::StreamKind;

/// How long a stream is not doubted that was made or found, though what is sent to it is not answered.
const SURE: Duration = Duration::from_secs(5);

/// The streams that are there, as far as this host knows.
pub(crate) struct StreamTable {
    known: Mutex<HashMap<(StreamKind, Name), StreamSlot>>,
    /// How many are known at most. Then all are forgotten, and found again.
    most: usize,
}

/// Without a value the stream is being made, or could not be made last time.
type StreamSlot = Arc<OnceCell<KnownStream>>;

struct KnownStream {
    epoch: u32,
    since: Instant,
}

impl StreamTable {
    pub(crate) fn new(most: usize) -> Self {
        Self { known: Mutex::default(), most }
    }

    /// The epoch of a stream, which is made unless it is known. Of all that want the same one, one makes it, and the others
    /// wait; if it cannot, the next one tries.
    pub(crate) async fn ensure<F: Future<Output = Result<u32, NatsError>>>(
        &self,
        kind: StreamKind,
        name: &Name,
        make: impl FnOnce() -> F,
    ) -> Result<u32, NatsError> {
        let place = self.place((kind, name.clone()));
        // It takes much room, and few have to do it.
        let make = || Box::pin(async { Ok(KnownStream { epoch: make().await?, since: Instant::now() }) });
        Ok(place.get_or_try_init(make).await?.epoch)
    }

    fn place(&self, key: (StreamKind, Name)) -> StreamSlot {
        let mut known = self.known.lock();
        if known.len() >= self.most && !known.contains_key(&key) {
            known.clear();
        }
        known.entry(key).or_default().clone()
    }

    /// Makes sure again next time.
    pub(crate) fn doubt(&self, kind: StreamKind, name: &Name) {
        self.forget(kind, name, |_| true);
    }

    /// The same after silence. That says little, and all who send find it at the same time.
    fn doubt_if_old(&self, kind: StreamKind, name: &Name) {
        self.forget(kind, name, |known| known.since.elapsed() >= SURE);
    }

    /// The same where NATS says that there is a stream with this epoch: another one may have been known.
    pub(crate) fn doubt_other(&self, kind: StreamKind, name: &Name, epoch: u32) {
        self.forget(kind, name, |known| known.epoch != epoch);
    }

    /// The same for those that are not there, as far as they were known before.
    pub(crate) fn doubt_missing(&self, is_there: impl Fn(StreamKind, &Name) -> bool, before: Instant) {
        let is_missing = |kind, name: &_, known: &KnownStream| known.since < before && !is_there(kind, name);
        self.known
            .lock()
            .retain(|(kind, name), place| !place.get().is_some_and(|known| is_missing(*kind, name, known)));
    }

    fn forget(&self, kind: StreamKind, name: &Name, is_doubtful: impl FnOnce(&KnownStream) -> bool) {
        let (mut known, key) = (self.known.lock(), (kind, name.clone()));
        // One that is being made is not doubted.
        if known.get(&key).and_then(|place| place.get()).is_some_and(is_doubtful) {
            known.remove(&key);
        }
    }
}

impl NatsContext {
    /// Sends an event to its stream, which is made sure of, and gives the epoch of the stream and the number of the event.
    pub(crate) async fn store(
        &self,
        kind: StreamKind,
        name: &Name,
        headers: HeaderMap,
        data: Bytes,
        until: Instant,
    ) -> Result<(u32, u64), StoreError> {
        let subject = self.link.names.subject(kind, name);
        let stored = self.link.persist(until, || async {
            let epoch = match kind {
                StreamKind::Queue => self.ensure_queue(name).await?,
                StreamKind::Topic => self.ensure_topic(name).await?,
            };
            let sent = self.link.publish(&subject, headers.clone(), data.clone()).await;
            match sent {
                Err(NatsError::Unheard) => self.streams.doubt(kind, name),
                Err(NatsError::Silent) => self.streams.doubt_if_old(kind, name),
                _ => {}
            }
            Ok((epoch, sent?))
        });
        let stored = stored.await;
        if matches!(stored, Err(StoreError::Unavailable(_))) {
            self.streams.doubt_if_old(kind, name);
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use futures::FutureExt as _;

    use super::*;

    fn streams() -> (StreamTable, Name) {
        (StreamTable::new(2), "a".parse().unwrap())
    }

    async fn ensure(streams: &StreamTable, name: &Name, epoch: u32) -> u32 {
        streams.ensure(StreamKind::Queue, name, || ready(Ok(epoch))).await.unwrap()
    }

    #[tokio::test]
    async fn of_all_that_want_a_stream_one_makes_it() {
        let (streams, name) = streams();
        let count = Cell::new(0);
        let (go, gone) = tokio::sync::watch::channel(());
        let make = || async {
            count.set(count.get() + 1);
            let _ = gone.clone().changed().await;
            Ok(count.get())
        };
        let wants = (0..10).map(|_| streams.ensure(StreamKind::Queue, &name, make));
        let mut all = std::pin::pin!(futures::future::try_join_all(wants));
        assert!(all.as_mut().now_or_never().is_none());
        // One that is being made is not doubted.
        streams.doubt(StreamKind::Queue, &name);
        assert!(streams.ensure(StreamKind::Queue, &name, make).now_or_never().is_none());
        drop(go);
        assert_eq!(all.await.unwrap(), [1; 10]);
        // One of a topic is another one.
        assert_eq!(streams.ensure(StreamKind::Topic, &name, make).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn next_one_tries_where_one_fails_or_gives_up() {
        let (streams, name) = streams();
        assert!(streams.ensure(StreamKind::Queue, &name, pending).now_or_never().is_none());
        streams.ensure(StreamKind::Queue, &name, || ready(Err(NatsError::Silent))).await.unwrap_err();
        assert_eq!(ensure(&streams, &name, 3).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn known_stream_is_made_again_when_it_is_doubted() {
        let (streams, name) = streams();
        assert_eq!((ensure(&streams, &name, 1).await, ensure(&streams, &name, 2).await), (1, 1));
        streams.doubt(StreamKind::Topic, &name);
        streams.doubt_other(StreamKind::Queue, &name, 1);
        streams.doubt_if_old(StreamKind::Queue, &name);
        assert_eq!(ensure(&streams, &name, 2).await, 1);
        streams.doubt(StreamKind::Queue, &name);
        assert_eq!(ensure(&streams, &name, 2).await, 2);
        streams.doubt_other(StreamKind::Queue, &name, 3);
        assert_eq!(ensure(&streams, &name, 3).await, 3);
        let now = Instant::now();
        tokio::time::advance(SURE).await;
        streams.doubt_missing(|_, _| false, now);
        assert_eq!(ensure(&streams, &name, 4).await, 3);
        streams.doubt_if_old(StreamKind::Queue, &name);
        assert_eq!(ensure(&streams, &name, 4).await, 4);
        tokio::time::advance(SURE).await;
        streams.doubt_missing(|kind, _| kind == StreamKind::Queue, Instant::now());
        assert_eq!(ensure(&streams, &name, 5).await, 4);
        streams.doubt_missing(|kind, _| kind == StreamKind::Topic, Instant::now());
        assert_eq!(ensure(&streams, &name, 5).await, 5);
    }

    #[tokio::test]
    async fn only_so_many_are_known() {
        let (streams, first) = streams();
        for (epoch, name) in (1..).zip(["a", "b", "a"]) {
            assert_eq!(
                ensure(&streams, &name.parse().unwrap(), epoch).await,
                if epoch == 3 { 1 } else { epoch }
            );
        }
        ensure(&streams, &"c".parse().unwrap(), 4).await;
        assert_eq!(ensure(&streams, &first, 5).await, 5);
        assert!(streams.known.lock().len() <= 2);
    }
}
