//! Fetching events for those who wait.
//!
//! However many wait at a queue of a host, there is one request for events at NATS, for as many as wait and not more than
//! some. It ends when they leave. So nothing is fetched for nobody, but for what was on its way then, which goes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Shared;
use super::link::{Link, Trouble, pause};
use super::names::Kind;
use super::stream::CONSUMER;
use crate::events::{Name, StoreError};

/// The most events that one request is for. Those who wait beyond that are served by the next.
const MAX_BATCH: usize = 64;

/// How long a request stays at NATS.
const EXPIRES: Duration = Duration::from_mins(1);

/// How often NATS says that it still has the request, at least. One that it has lost is found by its silence, at the latest.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long the subscription for a queue's events stays when nobody waits there. Who has taken one event mostly takes another
/// soon, and whoever waits for the one that came does not wait until NATS has heard of the end.
const LINGER: Duration = Duration::from_secs(1);

/// How long a request stays that only asks for what is there, or guards another one; and after which time NATS says that it
/// has it.
const BRIEF: Duration = Duration::from_millis(100);
const BRIEF_HEARTBEAT: Duration = Duration::from_millis(20);

/// How long to wait for what NATS has to say when a request is over.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A request for events.
struct Pull {
    /// Of the stream.
    epoch: u32,
    subject: String,
    inbox: String,
    heartbeat: Duration,
    messages: Subscriber,
    /// Messages that came by this subscription, of whatever kind.
    received: u64,
    /// Events that it is still for.
    left: usize,
    /// When it counts as lost.
    silent: Instant,
    /// There as long as there are any.
    counted: Option<Counted>,
}

/// Counts a request for as long as it is there.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: Arc<Shared>) -> Self {
        shared.health.requests.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.health.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Got {
    Event(Message),
    Nothing,
    /// NATS does not have the request.
    Lost(String),
}

impl Pull {
    async fn start(shared: &Arc<Shared>, queue: &Name, epoch: u32, batch: usize) -> Result<Self, String> {
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
    async fn ask(&mut self, shared: &Arc<Shared>, batch: usize) -> Result<(), String> {
        let (expires, idle_heartbeat) = (nanos(EXPIRES), nanos(self.heartbeat));
        let request = json!({ "batch": batch, "expires": expires, "idle_heartbeat": idle_heartbeat });
        self.counted.get_or_insert_with(|| Counted::new(shared.clone()));
        send(&shared.link, &self.subject, &self.inbox, &request).await?;
        self.left = batch;
        self.silent = Instant::now() + self.heartbeat * 2 + LAST_WORDS;
        Ok(())
    }

    async fn next(&mut self) -> Got {
        let message = tokio::select! {
            message = self.messages.next() => message,
            () = sleep_until(self.silent) => return Got::Lost("it has fallen silent".to_owned()),
        };
        let Some(message) = message else { return Got::Lost("the connection has ended".to_owned()) };
        self.received += 1;
        self.silent = Instant::now() + self.heartbeat * 2 + LAST_WORDS;
        match message.status {
            None if is_event(&message) => {
                self.wait_for(self.left.saturating_sub(1));
                Got::Event(message)
            }
            None | Some(StatusCode::IDLE_HEARTBEAT) => Got::Nothing,
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.wait_for(0);
                Got::Nothing
            }
            Some(status) => Got::Lost(format!("{status} {}", message.description.unwrap_or_default())),
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
    async fn take_back(mut self, link: &Link) -> Vec<Message> {
        let (mut rest, missing) = (Vec::new(), self.left as u64 + 1);
        if self.left == 0 || !link.is_up() {
            return rest;
        }
        let mut guard = Brief::start(link, &self.subject, MAX_BATCH).await;
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
    async fn take_back_moved(mut self, link: &Link) -> Vec<Message> {
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
struct Brief {
    messages: Subscriber,
    batch: usize,
    got: Vec<Message>,
    is_over: bool,
}

impl Brief {
    async fn start(link: &Link, subject: &str, batch: usize) -> Result<Self, String> {
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

/// Fetches events for a queue for as long as somebody waits there.
pub(super) async fn fetch(shared: Arc<Shared>, queue: Name) {
    let Some(line) = shared.line(&queue) else { return };
    let mut connections = shared.link.connections();
    let (mut pull, mut tries, mut told) = (None::<Pull>, 0, false);
    loop {
        let wanted = shared.wanted(&queue).min(MAX_BATCH);
        let was_lost = shared.was_lost(&queue);
        if let Some(current) = pull.take_if(|current| was_lost || current.left > wanted) {
            shared.all_arrived(&queue, current.epoch, current.take_back(&shared.link).await);
            continue;
        }
        if wanted == 0 {
            tokio::select! {
                () = line.notified() => {}
                _ = connections.changed() => pull = None,
                () = sleep(LINGER) => if shared.has_done_fetching(&queue) { return },
            }
            continue;
        }
        let current = match asked(&shared, &queue, &mut pull, wanted).await {
            Ok(current) => current,
            Err(Trouble::Lasting(error)) => {
                shared.give_up(&queue, &error);
                continue;
            }
            Err(trouble) => {
                pull = None;
                match trouble.warning(tries) {
                    Some(warning) if !std::mem::replace(&mut told, true) => {
                        tracing::warn!("queue {queue}: who waits goes on waiting, but NATS says: {warning}");
                    }
                    _ => tracing::debug!("queue {queue}: NATS is not asked for events: {trouble:?}"),
                }
                tokio::select! {
                    () = sleep(pause(tries)) => {}
                    () = line.notified() => {}
                }
                tries += 1;
                continue;
            }
        };
        tokio::select! {
            got = current.next() => match got {
                Got::Event(message) => {
                    (tries, told) = (0, false);
                    let epoch = current.epoch;
                    shared.arrived(&queue, epoch, message);
                }
                Got::Nothing => (tries, told) = (0, false),
                Got::Lost(why) => {
                    tracing::debug!("queue {queue}: NATS has lost the request for events: {why}");
                    pull = None;
                    // The stream or its consumer may have gone.
                    shared.streams.doubt(Kind::Queue, &queue);
                    shared.suspect(&queue);
                    sleep(pause(tries)).await;
                    tries += 1;
                }
            },
            () = line.notified() => {}
            _ = connections.changed() => {
                // Requests went with the connection. All hosts find that at the same time, and should not ask at once.
                if let Some(moved) = pull.take() {
                    shared.all_arrived(&queue, moved.epoch, moved.take_back_moved(&shared.link).await);
                }
            }
        }
    }
}

/// The request that is there, or another one.
async fn asked<'a>(
    shared: &Arc<Shared>,
    queue: &Name,
    pull: &'a mut Option<Pull>,
    wanted: usize,
) -> Result<&'a mut Pull, Trouble> {
    let is_over = pull.as_ref().is_none_or(|pull| pull.left == 0);
    let epoch = if is_over { Some(shared.ensure_queue(queue).await?) } else { None };
    match (pull, epoch) {
        (Some(pull), None) => Ok(pull),
        (Some(pull), Some(epoch)) => {
            pull.epoch = epoch;
            pull.ask(shared, wanted).await.map_err(Trouble::Passing)?;
            Ok(pull)
        }
        (pull, epoch) => {
            let started = Pull::start(shared, queue, epoch.unwrap_or_default(), wanted).await;
            Ok(pull.insert(started.map_err(Trouble::Passing)?))
        }
    }
}

/// What NATS hands out at once, and at most so many.
pub(super) async fn at_once(link: &Link, queue: &Name, most: usize) -> Result<Vec<Message>, StoreError> {
    let failed =
        |error: &str| StoreError::Unavailable(format!("NATS is not asked for events: {error}").into());
    let brief = Brief::start(link, &subject(link, queue), most).await.map_err(|error| failed(&error))?;
    match brief.all().await {
        (all, false) if all.is_empty() => Err(failed("it does not answer")),
        (all, _) => Ok(all),
    }
}

/// Where a queue's consumer is asked for events.
fn subject(link: &Link, queue: &Name) -> String {
    format!("$JS.API.CONSUMER.MSG.NEXT.{}.{CONSUMER}", link.names.stream(Kind::Queue, queue))
}

async fn send(link: &Link, subject: &str, inbox: &str, request: &serde_json::Value) -> Result<(), String> {
    let sent =
        link.client.publish_with_reply(subject.to_owned(), inbox.to_owned(), request.to_string().into());
    sent.await.map_err(|error| error.to_string())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
