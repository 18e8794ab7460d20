//! Requests for events at NATS, which can be withdrawn.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use linger_base::Name;

use crate::StoreError;
use crate::nats::NatsContext;
use crate::nats::client::{NatsClient, pause};
use crate::nats::names::StreamKind;
use crate::nats::stream::CONSUMER;

/// The most events that one request is for. Those who wait beyond that are served by the next.
pub(crate) const MAX_BATCH: usize = 64;

/// How long a request stays at NATS.
const EXPIRES: Duration = Duration::from_mins(1);

/// How often NATS says that it still has the request, at least. One that it has lost is found by its silence, at the latest.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long a request stays that only asks for what is there, or guards another one; and after which time NATS says that it
/// has it.
const BRIEF: Duration = Duration::from_millis(100);
const BRIEF_HEARTBEAT: Duration = Duration::from_millis(20);

/// How long to wait for what NATS has to say when a request is over.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A request for events.
pub(crate) struct PullRequest {
    /// Of the stream.
    pub(crate) epoch: u32,
    subject: String,
    inbox: String,
    heartbeat: Duration,
    messages: Subscriber,
    /// Messages that came by this subscription, of whatever kind.
    received: u64,
    /// Events that it is still for.
    pub(crate) left: usize,
    /// When it counts as lost.
    silent: Instant,
    /// There as long as there are any.
    counted: Option<CountedPull>,
}

/// Counts a request for as long as it is there.
struct CountedPull(Arc<NatsContext>);

impl CountedPull {
    fn new(shared: Arc<NatsContext>) -> Self {
        shared.health.requests.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for CountedPull {
    fn drop(&mut self) {
        self.0.health.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) enum PullResult {
    Event(Message),
    Nothing,
    /// NATS does not have the request.
    Lost(String),
}

impl PullRequest {
    pub(crate) async fn start(
        shared: &Arc<NatsContext>,
        queue: &Name,
        epoch: u32,
        batch: usize,
    ) -> Result<Self, String> {
        let link = &shared.link;
        let inbox = link.client.new_inbox();
        let messages = link.client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
        // NATS looks for hosts that have gone as often: before their events come again, see `take_back`.
        let heartbeat = HEARTBEAT.min(shared.ack_wait(queue) / 3);
        let mut pull = Self {
            epoch,
            subject: subject(link, queue),
            inbox,
            heartbeat,
            messages,
            received: 0,
            left: 0,
            silent: Instant::now(),
            counted: None,
        };
        pull.ask(shared, batch).await?;
        Ok(pull)
    }

    /// Asks for so many events.
    pub(crate) async fn ask(&mut self, shared: &Arc<NatsContext>, batch: usize) -> Result<(), String> {
        let (expires, idle_heartbeat) = (nanos(EXPIRES), nanos(self.heartbeat));
        let request = json!({ "batch": batch, "expires": expires, "idle_heartbeat": idle_heartbeat });
        self.counted.get_or_insert_with(|| CountedPull::new(shared.clone()));
        send(&shared.link, &self.subject, &self.inbox, &request).await?;
        self.left = batch;
        self.silent = Instant::now() + self.heartbeat * 2 + LAST_WORDS;
        Ok(())
    }

    pub(crate) async fn next(&mut self) -> PullResult {
        let message = tokio::select! {
            message = self.messages.next() => message,
            () = sleep_until(self.silent) => return PullResult::Lost("it stopped responding".to_owned()),
        };
        let Some(message) = message else { return PullResult::Lost("the connection is closed".to_owned()) };
        self.received += 1;
        self.silent = Instant::now() + self.heartbeat * 2 + LAST_WORDS;
        match message.status {
            None if is_event(&message) => {
                self.wait_for(self.left.saturating_sub(1));
                PullResult::Event(message)
            }
            None | Some(StatusCode::IDLE_HEARTBEAT) => PullResult::Nothing,
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.wait_for(0);
                PullResult::Nothing
            }
            Some(status) => PullResult::Lost(format!("{status} {}", message.description.unwrap_or_default())),
        }
    }

    /// So many are still to come.
    fn wait_for(&mut self, left: usize) {
        self.left = left;
        if left == 0 {
            self.counted = None;
        }
    }

    /// Takes the request back, and gives the events that were on their way.
    ///
    /// NATS knows a request by who listens for it. It is told to stop after as many messages as may come, and is sent those
    /// that are missing: so it stops, and nothing that it sent before is overheard.
    ///
    /// NATS 2.9 finds only later that nobody listens. An event that returns while it has no other request is away for the
    /// ack wait then, and the one before it is handed out twice. So there is another one meanwhile, a brief one: when
    /// that is over, NATS looks at all.
    pub(crate) async fn take_back(mut self, link: &NatsClient) -> Vec<Message> {
        let (mut rest, missing) = (Vec::new(), self.left as u64 + 1);
        if self.left == 0 || !link.is_up() {
            return rest;
        }
        let mut guard = BriefPull::start(link, &self.subject, MAX_BATCH).await;
        if let Ok(guard) = &mut guard {
            guard.is_there().await;
        }
        if self.messages.unsubscribe_after(self.received + missing).await.is_ok() {
            for _ in 0..missing {
                // Without a connection nothing comes either.
                let _ = link.client.publish(self.inbox.clone(), Bytes::new()).await;
            }
            let until = Instant::now() + LAST_WORDS;
            while let Ok(Some(message)) = timeout_at(until, self.messages.next()).await {
                rest.extend(Some(message).filter(is_event));
            }
        }
        if let Ok(guard) = guard {
            rest.extend(guard.all().await.0);
        }
        rest
    }

    /// The same when the connection has changed, after a while that is not the same on all hosts. A request that was sent as
    /// the connection before was lost may have gone by the new one, and be answered already.
    ///
    /// NATS counts what it sends by connection, so the same subject is subscribed once more. Meanwhile there are both: NATS may
    /// have begun to send by the first.
    pub(crate) async fn take_back_moved(mut self, link: &NatsClient) -> Vec<Message> {
        let Ok(messages) = link.client.subscribe(self.inbox.clone()).await else { return Vec::new() };
        let mut before = std::mem::replace(&mut self.messages, messages);
        self.received = 0;
        sleep(pause(6)).await;
        let mut rest = Vec::new();
        while let Some(Some(message)) = before.next().now_or_never() {
            rest.extend(Some(message).filter(is_event));
        }
        drop(before);
        for message in self.take_back(link).await {
            if rest.iter().all(|other| other.reply != message.reply) {
                rest.push(message);
            }
        }
        rest
    }
}

fn is_event(message: &Message) -> bool {
    message.status.is_none() && message.reply.is_some()
}

/// A request for what is there, which is over soon.
struct BriefPull {
    messages: Subscriber,
    batch: usize,
    got: Vec<Message>,
    is_over: bool,
}

impl BriefPull {
    async fn start(link: &NatsClient, subject: &str, batch: usize) -> Result<Self, String> {
        let inbox = link.client.new_inbox();
        let messages = link.client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
        let (expires, idle_heartbeat) = (nanos(BRIEF), nanos(BRIEF_HEARTBEAT));
        let request = json!({ "batch": batch, "expires": expires, "idle_heartbeat": idle_heartbeat });
        send(link, subject, &inbox, &request).await?;
        Ok(Self { messages, batch, got: Vec::new(), is_over: false })
    }

    /// Waits until NATS has the request, as far as that can be known.
    async fn is_there(&mut self) {
        let until = Instant::now() + BRIEF + LAST_WORDS;
        self.hear(until).await;
    }

    /// What came, and whether NATS said that this is all.
    async fn all(mut self) -> (Vec<Message>, bool) {
        let until = Instant::now() + BRIEF + LAST_WORDS;
        while !self.is_over && self.got.len() < self.batch {
            if !self.hear(until).await {
                return (self.got, false);
            }
        }
        (self.got, true)
    }

    /// Whether there was a word in time.
    async fn hear(&mut self, until: Instant) -> bool {
        match timeout_at(until, self.messages.next()).await {
            Ok(Some(message)) if message.status.is_none() => self.got.push(message),
            Ok(Some(Message { status: Some(StatusCode::IDLE_HEARTBEAT), .. })) => {}
            Ok(_) => self.is_over = true,
            Err(_) => return false,
        }
        true
    }
}

/// What NATS hands out at once, and at most so many.
pub(crate) async fn at_once(
    link: &NatsClient,
    queue: &Name,
    most: usize,
) -> Result<Vec<Message>, StoreError> {
    let failed =
        |error: &str| StoreError::Unavailable(format!("cannot request events from NATS: {error}").into());
    let brief = BriefPull::start(link, &subject(link, queue), most).await.map_err(|error| failed(&error))?;
    match brief.all().await {
        (all, false) if all.is_empty() => Err(failed("it does not respond")),
        (all, _) => Ok(all),
    }
}

/// Where a queue's consumer is asked for events.
fn subject(link: &NatsClient, queue: &Name) -> String {
    format!("$JS.API.CONSUMER.MSG.NEXT.{}.{CONSUMER}", link.names.stream(StreamKind::Queue, queue))
}

async fn send(
    link: &NatsClient,
    subject: &str,
    inbox: &str,
    request: &serde_json::Value,
) -> Result<(), String> {
    let sent =
        link.client.publish_with_reply(subject.to_owned(), inbox.to_owned(), request.to_string().into());
    sent.await.map_err(|error| error.to_string())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
