//! Queues: each is a stream that keeps an event until it is acknowledged, and a consumer that all hosts share.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::message::Message as Handed;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use super::link::Trouble;
use super::message::{Origin, Particulars, stored_size};
use super::names::Kind;
use super::notes::{Key, Mark, Note};
use super::queue::{Due, Held, Queue, Waiter, answer, millis};
use super::{Shared, lock, pull, stream};
use crate::events::{
    Event, EventId, Fates, LeaseId, Limit, Name, NewEvent, Schedule, Settlement, StoreError,
};

/// How much later than an event that returned a note of it may come.
const NOTE_IS_LATE: Duration = Duration::from_millis(50);

/// How long it is gathered how far events have been handed out before it is told.
const MARKS: Duration = Duration::from_millis(20);

/// Events that are purged at a time.
const PURGED_AT_A_TIME: usize = 256;

impl Shared {
    /// Makes sure of a queue's stream and consumer, and gives its epoch.
    pub(super) async fn ensure_queue(&self, name: &Name) -> Result<u32, Trouble> {
        if let Some(&epoch) = lock(&self.queues).known.get(name) {
            return Ok(epoch);
        }
        let config = stream::queue(&self.link, name, &self.limits.queues);
        let info = stream::make(&self.link, &config, self.clock.now()).await?;
        stream::make_consumer(&self.link, &config.name, self.ack_wait(name)).await?;
        let epoch = stream::epoch(&info);
        let mut state = lock(&self.queues);
        if state.known.len() >= self.limits.queues.max_queues.saturating_mul(2) {
            state.known.clear();
        }
        state.known.insert(name.clone(), epoch);
        Ok(epoch)
    }

    /// Makes sure again next time.
    pub(super) fn doubt(&self, name: &Name) {
        lock(&self.queues).known.remove(name);
    }

    pub(super) fn ack_wait(&self, name: &Name) -> Duration {
        self.link.config.queue(name).1
    }

    pub(super) fn push_now(
        self: &Arc<Self>,
        name: &Name,
        event: NewEvent,
        schedule: Schedule,
    ) -> Result<impl Future<Output = Result<EventId, StoreError>> + Send + use<>, StoreError> {
        super::check_size(&event.data, self.limits.queues.max_event_size)?;
        let particulars = Particulars {
            due: schedule.delay.map(|delay| self.clock.after(delay)),
            expires: schedule.time_to_live.map(|time| self.clock.after(time)),
            ..Particulars::of(&event)
        };
        self.send(name, event.data, &particulars, &self.link.message_id(), |fates| &mut fates.pushed)
    }

    /// Sends an event to a queue's stream. The work has begun when this returns.
    fn send(
        self: &Arc<Self>,
        name: &Name,
        data: Bytes,
        particulars: &Particulars,
        id: &str,
        fate: fn(&mut Fates) -> &mut u64,
    ) -> Result<impl Future<Output = Result<EventId, StoreError>> + Send + use<>, StoreError> {
        let subject = self.link.names.subject(Kind::Queue, name);
        let headers = particulars.headers(id);
        let size = stored_size(&subject, Some(&headers), data.len());
        lock(&self.queues).arrives(name, size, (&self.limits.queues, &|name| self.ack_wait(name)))?;
        let (shared, name, expires) = (self.clone(), name.clone(), particulars.expires);
        let until = Instant::now() + self.link.config.timeout;
        Ok(self.work(async move {
            let sent = shared.link.persist(until, || async {
                let epoch = shared.ensure_queue(&name).await?;
                let sent = shared.link.publish(&subject, headers.clone(), data.clone()).await;
                if matches!(sent, Err(Trouble::Passing(_))) {
                    // There may be no such stream any more.
                    shared.doubt(&name);
                }
                Ok(EventId { epoch, number: sent? })
            });
            let sent = sent.await;
            let mut state = lock(&shared.queues);
            state.arrived(&name, size, sent.is_ok());
            if let Ok(EventId { number, .. }) = sent {
                *fate(&mut state.fates) += 1;
                if let Some(expires) = expires {
                    let key = (expires, state.number());
                    state.timers.insert(key, Due::Expiry { queue: name, sequence: number, size });
                    shared.alarm.notify_one();
                }
            }
            sent
        }))
    }

    pub(super) fn take_now(
        self: &Arc<Self>,
        name: &Name,
    ) -> Result<(u64, oneshot::Receiver<Result<super::queue::Taken, StoreError>>), StoreError> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.queues);
        let ticket = state.number();
        let queue = state.queue(name, (&self.limits.queues, &|name| self.ack_wait(name)))?;
        // Who has left is in the way only until it is dropped.
        if queue.waiters.len() >= self.limits.queues.max_waiters {
            return Err(StoreError::OverLimit(Limit::Waiters));
        }
        queue.waiters.insert(ticket, sender);
        if !std::mem::replace(&mut queue.fetching, true) {
            self.fetchers.spawn_on(pull::fetch(self.clone(), name.clone()), &self.runtime);
        }
        Ok((ticket, receiver))
    }

    /// Who waited does so no longer.
    pub(super) fn leave(&self, name: &Name, ticket: u64) {
        let mut state = lock(&self.queues);
        if let Some(queue) = state.queues.get_mut(name) {
            if queue.waiters.remove(&ticket).is_some() {
                queue.left.notify_one();
            }
            state.forget_if_unused(name);
        }
    }

    /// Tells that somebody has left a queue.
    pub(super) fn leaving(&self, name: &Name) -> Option<Arc<Notify>> {
        lock(&self.queues).queues.get(name).map(|queue| queue.left.clone())
    }

    /// NATS may have lost the request for events of a queue.
    pub(super) fn lost(&self, name: &Name) {
        self.suspect(name);
        if let Some(queue) = lock(&self.queues).queues.get_mut(name) {
            queue.lost = true;
            queue.left.notify_one();
        }
    }

    /// Whether NATS may have lost the request since that was asked last.
    pub(super) fn was_lost(&self, name: &Name) -> bool {
        lock(&self.queues).queues.get_mut(name).is_some_and(|queue| std::mem::take(&mut queue.lost))
    }

    /// How many wait at a queue.
    pub(super) fn wanted(&self, name: &Name) -> usize {
        lock(&self.queues).queues.get(name).map_or(0, |queue| queue.waiters.len())
    }

    /// Ends the fetching for a queue, unless somebody waits there.
    pub(super) fn has_done_fetching(&self, name: &Name) -> bool {
        let mut state = lock(&self.queues);
        let Some(queue) = state.queues.get_mut(name) else { return true };
        if !queue.waiters.is_empty() {
            return false;
        }
        queue.fetching = false;
        state.forget_if_unused(name);
        true
    }

    /// Tells all who wait at a queue that it cannot be had.
    pub(super) fn give_up(&self, name: &Name, error: &StoreError) {
        let waiters: Vec<Waiter> = {
            let mut state = lock(&self.queues);
            let queue = state.queues.get_mut(name);
            queue.map(|queue| std::mem::take(&mut queue.waiters).into_values().collect()).unwrap_or_default()
        };
        for waiter in waiters {
            // It may have left.
            let _ = waiter.send(Err(error.clone()));
        }
    }

    /// An event has been handed out to this host. What another one has told of it may be a little later.
    pub(super) fn arrived(self: &Arc<Self>, name: &Name, epoch: u32, message: Message) {
        let handed = Handed { message, context: self.link.js.clone() };
        let (sequence, delivered) = match handed.info() {
            Ok(info) => (info.stream_sequence, u64::try_from(info.delivered).unwrap_or(1)),
            Err(error) => {
                return tracing::warn!("queue {name}: NATS handed out what makes no sense: {error}");
            }
        };
        let (message, key) = (handed.message, (name.clone(), epoch, sequence));
        if lock(&self.queues).notes.tell_of(&key, delivered) {
            return self.arrived_and_known(name, epoch, message);
        }
        let shared = self.clone();
        drop(self.work(async move {
            shared.hear_of(&key, delivered).await;
            shared.arrived_and_known(&key.0, epoch, message);
            Ok(())
        }));
    }

    /// Waits until it is told what became of an event, but not for long: whoever had it may have died.
    async fn hear_of(&self, key: &Key, delivered: u64) {
        let told = async {
            loop {
                let mut heard = pin!(self.told.notified());
                heard.as_mut().enable();
                if lock(&self.queues).notes.tell_of(key, delivered) {
                    return;
                }
                heard.await;
            }
        };
        // If nothing is told, that is what is known.
        let _ = tokio::time::timeout(NOTE_IS_LATE, told).await;
    }

    fn arrived_and_known(self: &Arc<Self>, name: &Name, epoch: u32, message: Message) {
        let Some(mut arrival) = self.read(name, epoch, message) else { return };
        let now = self.clock.now();
        if arrival.is_over(now) {
            return drop(self.work(self.clone().expire(arrival)));
        }
        if let Some(due) = arrival.due.filter(|&due| due > now) {
            arrival.held.note.untaken += 1;
            let later = answer::later(Duration::from_millis(due - now));
            return drop(self.work(self.clone().return_with(arrival.held, later)));
        }
        if arrival.was_handed_out_too_often(&lock(&self.queues).queues) {
            return drop(self.work(self.clone().bury_or_hand_out(arrival.held)));
        }
        self.hand_out(arrival.held);
    }

    fn hand_out(self: &Arc<Self>, held: Held) {
        let mut state = lock(&self.queues);
        let back = state.hand_out(held, self.clock.now());
        drop(state);
        self.alarm.notify_one();
        if let Some(mut held) = back {
            held.note.untaken += 1;
            drop(self.work(self.clone().return_with(held, answer::BACK)));
        }
    }

    /// What a message says, with what is known of it.
    fn read(self: &Arc<Self>, name: &Name, epoch: u32, message: Message) -> Option<Arrival> {
        let size = stored_size(&message.subject, message.headers.as_ref(), message.payload.len());
        let Particulars { content_type, due, expires, origin } = Particulars::read(message.headers.as_ref());
        let handed = Handed { message, context: self.link.js.clone() };
        let (sequence, delivered) = match handed.info() {
            Ok(info) => (info.stream_sequence, u64::try_from(info.delivered).unwrap_or(1)),
            Err(error) => {
                tracing::warn!("queue {name}: NATS handed out what makes no sense: {error}");
                return None;
            }
        };
        let mut state = lock(&self.queues);
        let mut note = state.notes.of(&(name.clone(), epoch, sequence), delivered);
        let mark = state.mark(name, &self.limits.queues);
        note.maybe_delivered |= mark.pass(epoch, sequence) && delivered <= 1;
        let is_news = !std::mem::replace(&mut mark.is_to_be_told, true);
        drop(state);
        if is_news {
            self.fetchers.spawn_on(self.clone().tell_mark(name.clone()), &self.runtime);
        }
        let own = EventId { epoch, number: sequence };
        let origin = origin.unwrap_or(Origin { id: own, attempts: 0, maybe_delivered: false });
        let attempt = u64::from(origin.attempts) + note.delivered.saturating_sub(note.untaken);
        let Handed { message, .. } = handed;
        let event = Event {
            id: origin.id,
            data: message.payload,
            content_type,
            attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            maybe_delivered: note.maybe_delivered || origin.maybe_delivered,
        };
        let held = Held {
            queue: name.clone(),
            sequence,
            epoch,
            reply: message.reply?,
            event,
            note,
            size,
            expires,
            confirmed: self.clock.now(),
            ends: 0,
            timer: None,
        };
        Some(Arrival { held, due })
    }

    pub(super) fn settle_now(
        self: &Arc<Self>,
        lease: &LeaseId,
        settlement: Settlement,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + Send + use<>, StoreError> {
        let mut state = lock(&self.queues);
        let mut held = state.end_lease(lease.lease).ok_or(StoreError::Settled)?;
        if self.is_lost(&held) {
            state.fates.overdue += 1;
            return Err(StoreError::Settled);
        }
        if matches!(settlement, Settlement::PutBack { .. }) {
            state.fates.returned += 1;
        }
        drop(state);
        let shared = self.clone();
        Ok(self.work(async move {
            match settlement {
                Settlement::Commit => shared.commit(held).await,
                Settlement::Untaken => {
                    held.note.untaken += 1;
                    shared.put_back(held).await
                }
                Settlement::PutBack { maybe_delivered } => {
                    held.note.maybe_delivered |= maybe_delivered;
                    held.event.maybe_delivered |= maybe_delivered;
                    match shared.bury(held).await {
                        Ok(settled) => settled,
                        Err(held) => shared.put_back(held).await,
                    }
                }
            }
        }))
    }

    /// Whether NATS may have handed the event to another host meanwhile.
    fn is_lost(&self, held: &Held) -> bool {
        self.clock.now() >= held.confirmed + millis(self.ack_wait(&held.queue))
    }

    /// Until when NATS surely has not handed the event to another host.
    fn surely_held(&self, held: &Held) -> Instant {
        let left = (held.confirmed + millis(self.ack_wait(&held.queue))).saturating_sub(self.clock.now());
        Instant::now() + Duration::from_millis(left)
    }

    async fn acknowledge(&self, held: &Held, answer: Bytes) -> Result<(), StoreError> {
        let acknowledged = self
            .link
            .persist(self.surely_held(held), || self.link.acknowledge(&held.reply, answer.clone()))
            .await;
        if let Err(error) = &acknowledged {
            tracing::warn!("queue {}: {} comes again, flagged: {error}", held.queue, held.id());
        }
        acknowledged
    }

    /// The event is gone for good.
    async fn remove(&self, held: &Held) -> Result<(), StoreError> {
        self.acknowledge(held, answer::DONE).await?;
        let mut state = lock(&self.queues);
        state.notes.forget(&held.key());
        state.gone(&held.queue, held.size);
        Ok(())
    }

    async fn commit(&self, held: Held) -> Result<(), StoreError> {
        self.remove(&held).await?;
        lock(&self.queues).fates.committed += 1;
        Ok(())
    }

    async fn expire(self: Arc<Self>, arrival: Arrival) -> Result<(), StoreError> {
        self.remove(&arrival.held).await?;
        lock(&self.queues).fates.expired += 1;
        Ok(())
    }

    /// Returns an event, if it is of use still.
    async fn put_back(self: Arc<Self>, held: Held) -> Result<(), StoreError> {
        let arrival = Arrival { held, due: None };
        if arrival.is_over(self.clock.now()) {
            return self.expire(arrival).await;
        }
        self.return_with(arrival.held, answer::BACK).await
    }

    /// Tells all hosts what is to be known of an event, and gives it back.
    async fn return_with(self: Arc<Self>, held: Held, answer: Bytes) -> Result<(), StoreError> {
        let key = held.key();
        let told = self.link.client.publish(self.link.names.notes(), held.note.tell(&key)).await;
        if let Err(error) = told {
            tracing::debug!("no host is told of {}: {error}", held.id());
        }
        lock(&self.queues).notes.keep(key, held.note);
        // NATS 2.9 must not find requests only of hosts that have gone when an event returns (see `pull`): it looks when it
        // is asked how the consumer is. If it does not answer, neither does it below.
        let consumer = self.link.names.stream(Kind::Queue, &held.queue);
        let _ = self.link.ask::<IgnoredAny>(&format!("CONSUMER.INFO.{consumer}.{}", stream::CONSUMER)).await;
        self.acknowledge(&held, answer).await
    }

    /// Tells all hosts how far events have been handed out: sooner than NATS can have another leader, and not for each.
    async fn tell_mark(self: Arc<Self>, name: Name) {
        sleep(MARKS).await;
        let told = {
            let mut state = lock(&self.queues);
            let mark = state.mark(&name, &self.limits.queues);
            mark.is_to_be_told = false;
            mark.tell(&name)
        };
        // Who does not hear it does not suspect.
        let _ = self.link.client.publish(self.link.names.notes(), told).await;
    }

    /// NATS may have forgotten what it has handed out.
    pub(super) fn suspect(&self, name: &Name) {
        lock(&self.queues).mark(name, &self.limits.queues).suspect();
    }

    /// Another host, or this one, has told of an event, or how far events have been handed out.
    pub(super) fn heard(&self, note: &[u8]) {
        if let Some((queue, epoch, number)) = Mark::hear(note) {
            lock(&self.queues).mark(&queue, &self.limits.queues).pass(epoch, number);
            return;
        }
        if let Some((key, note)) = Note::hear(note) {
            lock(&self.queues).notes.keep(key, note);
            self.told.notify_waiters();
        }
    }

    /// Moves an event to the dead letters, if it was handed out too often and there is room. Otherwise gives it back.
    async fn bury(self: &Arc<Self>, held: Held) -> Result<Result<(), StoreError>, Held> {
        let policy = self.limits.queues.policy(&held.queue);
        let Some((attempts, dead)) = policy.dead.filter(|(attempts, _)| held.event.attempt >= *attempts)
        else {
            return Err(held);
        };
        let Event { id, data, content_type, attempt, maybe_delivered } = held.event.clone();
        let origin = Some(Origin { id, attempts: attempt, maybe_delivered });
        let particulars = Particulars { content_type, origin, ..Particulars::default() };
        // It may have been moved before, and not been removed then.
        let message = format!("{}-{}-{}", held.queue, held.epoch, held.sequence);
        let moved = match self.send(&dead, data, &particulars, &message, |fates| &mut fates.dead) {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        if let Err(error) = moved {
            tracing::warn!("queue {}: {id} stays, for {dead} does not take it: {error}", held.queue);
            return Err(held);
        }
        tracing::warn!("queue {}: {id} goes to {dead}: it was handed out {attempts} times", held.queue);
        Ok(self.remove(&held).await)
    }

    /// For an event that returned from a host that could not bury it.
    async fn bury_or_hand_out(self: Arc<Self>, mut held: Held) -> Result<(), StoreError> {
        held.event.attempt -= 1;
        match self.bury(held).await {
            Ok(removed) => removed,
            Err(mut held) => {
                held.event.attempt += 1;
                self.hand_out(held);
                Ok(())
            }
        }
    }

    pub(super) fn renew_now(&self, lease: &LeaseId, time: Duration) -> Result<(), StoreError> {
        let mut state = lock(&self.queues);
        let held = state.leases.get_mut(&lease.lease).ok_or(StoreError::Settled)?;
        held.ends = self.clock.after(time);
        let next = held.ends.min(held.timer.map_or(held.ends, |(time, _)| time));
        state.set_timer(lease.lease, next);
        self.alarm.notify_one();
        Ok(())
    }

    /// Does what is due, and tells what is next.
    pub(super) fn act(self: &Arc<Self>) -> Option<u64> {
        let now = self.clock.now();
        loop {
            let mut state = lock(&self.queues);
            let first = state.timers.first_entry()?;
            if first.key().0 > now {
                return Some(first.key().0);
            }
            let due = first.remove();
            drop(state);
            match due {
                Due::Lease(lease) => self.tend(lease, now),
                Due::Expiry { queue, sequence, size } => {
                    drop(self.work(self.clone().delete(queue, sequence, size)));
                }
            }
        }
    }

    /// Ends a lease that has run out, or tells NATS that the event is held.
    fn tend(self: &Arc<Self>, lease: u64, now: u64) {
        let mut state = lock(&self.queues);
        let Some(held) = state.leases.get(&lease) else { return };
        let (name, id, reply, ends, confirmed) =
            (held.queue.clone(), held.id(), held.reply.clone(), held.ends, held.confirmed);
        let ack_wait = millis(self.ack_wait(&name));
        if now >= confirmed + ack_wait {
            tracing::warn!("queue {name}: {id} is held no longer: NATS could not be told in time that it is");
            state.end_lease(lease);
            state.fates.overdue += 1;
            return;
        }
        if now >= ends {
            let Some(held) = state.end_lease(lease) else { return };
            state.fates.overdue += 1;
            state.fates.returned += 1;
            drop(state);
            tracing::warn!("queue {name}: the lease on {id} has run out: it returns");
            return drop(self.work(self.clone().run_out(held)));
        }
        state.set_timer(lease, ends.min(now + (ack_wait / 3).max(1)).min(confirmed + ack_wait));
        drop(state);
        let shared = self.clone();
        drop(self.work(async move {
            let told = shared.link.acknowledge(&reply, answer::HELD).await;
            if told.is_ok()
                && let Some(held) = lock(&shared.queues).leases.get_mut(&lease)
            {
                held.confirmed = held.confirmed.max(now);
            }
            Ok(())
        }));
    }

    async fn run_out(self: Arc<Self>, mut held: Held) -> Result<(), StoreError> {
        held.note.maybe_delivered = true;
        held.event.maybe_delivered = true;
        match self.bury(held).await {
            Ok(settled) => settled,
            Err(held) => self.put_back(held).await,
        }
    }

    /// Removes an event that is of no use any more. One that is held here ends with its lease.
    async fn delete(self: Arc<Self>, queue: Name, sequence: u64, size: u64) -> Result<(), StoreError> {
        let is_held =
            lock(&self.queues).leases.values().any(|held| held.queue == queue && held.sequence == sequence);
        if is_held {
            return Ok(());
        }
        let subject = format!("STREAM.MSG.DELETE.{}", self.link.names.stream(Kind::Queue, &queue));
        let request = json!({ "seq": sequence, "no_erase": true });
        let deleted = self.link.api::<serde_json::Value>(&subject, &request).await;
        if deleted.is_ok() {
            let mut state = lock(&self.queues);
            state.fates.expired += 1;
            state.gone(&queue, size);
        }
        // Otherwise it has gone before, or it goes when it is handed out.
        Ok(())
    }

    /// Removes what nobody holds: all that NATS would hand out.
    pub(super) async fn purge_now(self: Arc<Self>, queue: Name) -> Result<usize, StoreError> {
        let stream = self.link.names.stream(Kind::Queue, &queue);
        let until = || Instant::now() + self.link.config.timeout;
        if self.link.persist(until(), || stream::info(&self.link, &stream)).await?.is_none() {
            return Ok(0);
        }
        let epoch = self.link.persist(until(), || self.ensure_queue(&queue)).await?;
        let mut purged = 0;
        loop {
            let messages = pull::at_once(&self.link, &queue, PURGED_AT_A_TIME).await?;
            if messages.is_empty() {
                return Ok(purged);
            }
            let arrivals: Vec<_> =
                messages.into_iter().filter_map(|message| self.read(&queue, epoch, message)).collect();
            purged += arrivals.len();
            futures::future::try_join_all(arrivals.iter().map(|arrival| self.remove(&arrival.held))).await?;
            lock(&self.queues).fates.purged += arrivals.len() as u64;
        }
    }
}

/// An event that was handed out to this host, and of which nobody knows yet.
struct Arrival {
    held: Held,
    /// When it can be taken.
    due: Option<u64>,
}

impl Arrival {
    fn is_over(&self, now: u64) -> bool {
        self.held.expires.is_some_and(|expires| expires <= now)
    }

    fn was_handed_out_too_often(&self, queues: &std::collections::HashMap<Name, Queue>) -> bool {
        let dead = queues.get(&self.held.queue).and_then(|queue| queue.policy.dead.as_ref());
        dead.is_some_and(|(attempts, _)| self.held.event.attempt > *attempts)
    }
}
