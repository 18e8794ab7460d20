//! The queues as this host knows them: who waits here, what is held here, and how much there is in NATS. It does nothing
//! by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use tokio::sync::Notify;

use linger_base::Name;
use linger_config::{QueuePolicy, QueuesConfig};

use crate::nats::queue::notes::{EventKey, HandoutMark, RedeliveryNote, RedeliveryNotes};
use crate::wait::{LeaseSender, TakenEvent};
use crate::{Event, EventId, EventTotals, LimitKind, QueueUsage, StoreError, StoreUsage};

#[derive(Default)]
pub(crate) struct NatsQueueState {
    pub(crate) queues: HashMap<Name, NatsQueue>,
    /// By the numbers of the leases.
    pub(crate) leases: HashMap<u64, HeldEvent>,
    pub(crate) notes: RedeliveryNotes,
    pub(crate) marks: HashMap<Name, HandoutMark>,
    /// What time brings about, in milliseconds since 1970; the second number tells those of one time apart.
    pub(crate) timers: BTreeMap<(u64, u64), DueAction>,
    pub(crate) fates: EventTotals,
    next_number: u64,
    /// Of all queues.
    bytes: u64,
}

/// What time brings about.
pub(crate) enum DueAction {
    /// Something happens to a lease: a sign that its holder lives, or its end.
    Lease(u64),
    /// An event is of no use any more.
    Expiry { queue: Name, sequence: u64, size: u64 },
}

pub(crate) struct NatsQueue {
    pub(crate) policy: QueuePolicy,
    /// How long NATS waits for a sign of who holds an event.
    pub(crate) ack_wait: Duration,
    /// By ticket, so in the order of their arrival.
    pub(crate) waiters: BTreeMap<u64, LeaseSender>,
    /// Tells the task that fetches that somebody has come where nobody was, or has left, or that its request may be lost.
    pub(crate) line: Arc<Notify>,
    /// Whether NATS may have lost the request of that task.
    pub(crate) lost: bool,
    /// Whether there is such a task.
    pub(crate) fetching: bool,
    leased: usize,
    /// Events that are being sent.
    arriving: usize,
    /// Events in NATS, and their bytes with those that are being sent: what was found last, and what this host did since.
    messages: u64,
    bytes: u64,
    /// When this host last did something, by the count of all such times.
    changed: u64,
}

/// An event that somebody holds here.
pub(crate) struct HeldEvent {
    pub(crate) queue: Name,
    pub(crate) sequence: u64,
    pub(crate) epoch: u32,
    /// Where NATS is answered.
    pub(crate) reply: Subject,
    pub(crate) event: Event,
    pub(crate) note: RedeliveryNote,
    pub(crate) size: u64,
    pub(crate) expires: Option<u64>,
    /// When NATS surely knew last that it is held.
    pub(crate) confirmed: u64,
    /// When the lease runs out.
    pub(crate) ends: u64,
    /// Its entry in the timers.
    pub(crate) timer: Option<(u64, u64)>,
}

impl HeldEvent {
    pub(crate) fn key(&self) -> EventKey {
        (self.queue.clone(), self.epoch, self.sequence)
    }

    pub(crate) fn id(&self) -> EventId {
        self.event.id
    }
}

impl NatsQueue {
    fn new(policy: QueuePolicy, ack_wait: Duration) -> Self {
        Self {
            policy,
            ack_wait,
            waiters: BTreeMap::new(),
            line: Arc::default(),
            lost: false,
            fetching: false,
            leased: 0,
            arriving: 0,
            messages: 0,
            bytes: 0,
            changed: 0,
        }
    }

    fn events(&self) -> usize {
        usize::try_from(self.messages).unwrap_or(usize::MAX).saturating_add(self.arriving)
    }

    /// Whether it counts: with an event or a waiting taker.
    fn is_used(&self) -> bool {
        self.events() > 0 || !self.waiters.is_empty()
    }

    fn is_forgettable(&self) -> bool {
        !self.is_used() && !self.fetching && self.leased == 0
    }
}

/// How a queue is made: by the limits, and by how long NATS waits for a sign.
pub(crate) type QueueFactory<'a> = (&'a QueuesConfig, &'a dyn Fn(&Name) -> Duration);

impl NatsQueueState {
    /// How far a queue's events have been handed out.
    pub(crate) fn mark(&mut self, name: &Name, limits: &QueuesConfig) -> &mut HandoutMark {
        if self.marks.len() >= limits.max_queues.saturating_mul(2) && !self.marks.contains_key(name) {
            self.marks.clear();
        }
        self.marks.entry(name.clone()).or_default()
    }

    /// A number that was not given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A queue, made if there is room for one.
    pub(crate) fn queue(
        &mut self,
        name: &Name,
        make: QueueFactory<'_>,
    ) -> Result<&mut NatsQueue, StoreError> {
        let (limits, ack_wait) = make;
        let is_used = self.queues.get(name).is_some_and(NatsQueue::is_used);
        // Most of them are used, so they are counted only when there are many.
        if !is_used
            && self.queues.len() >= limits.max_queues
            && self.queues.values().filter(|queue| queue.is_used()).count() >= limits.max_queues
        {
            return Err(StoreError::OverLimit(LimitKind::Names));
        }
        Ok(self
            .queues
            .entry(name.clone())
            .or_insert_with(|| NatsQueue::new(limits.policy(name), ack_wait(name))))
    }

    /// Counts an event that is being sent.
    pub(crate) fn arrives(
        &mut self,
        name: &Name,
        size: u64,
        make: QueueFactory<'_>,
    ) -> Result<(), StoreError> {
        let (total, most) = (self.bytes + size, make.0.max_total_bytes.as_u64());
        let changed = self.number();
        let queue = self.queue(name, make)?;
        if total > most {
            self.forget_if_unused(name);
            return Err(StoreError::OverLimit(LimitKind::TotalBytes));
        }
        queue.arriving += 1;
        queue.bytes += size;
        queue.changed = changed;
        self.bytes = total;
        Ok(())
    }

    /// It has been sent, or could not be.
    pub(crate) fn record_arrival(&mut self, name: &Name, size: u64, stored: bool) {
        let changed = self.number();
        let Some(queue) = self.queues.get_mut(name) else { return };
        queue.arriving -= 1;
        queue.changed = changed;
        if stored {
            queue.messages += 1;
        } else {
            self.release(name, size);
        }
        self.forget_if_unused(name);
    }

    /// An event has gone for good.
    pub(crate) fn record_removal(&mut self, name: &Name, size: u64) {
        let changed = self.number();
        if let Some(queue) = self.queues.get_mut(name) {
            queue.changed = changed;
            queue.messages = queue.messages.saturating_sub(1);
        }
        self.release(name, size);
        self.forget_if_unused(name);
    }

    fn release(&mut self, name: &Name, size: u64) {
        if let Some(queue) = self.queues.get_mut(name) {
            let size = size.min(queue.bytes);
            queue.bytes -= size;
            self.bytes -= size;
        }
    }

    /// What NATS says of a queue, as of a time at which this host had done so much.
    pub(crate) fn found(
        &mut self,
        name: &Name,
        (messages, bytes): (u64, u64),
        as_of: u64,
        make: QueueFactory<'_>,
    ) {
        let (limits, ack_wait) = make;
        if messages == 0 && !self.queues.contains_key(name) {
            return;
        }
        let queue = self
            .queues
            .entry(name.clone())
            .or_insert_with(|| NatsQueue::new(limits.policy(name), ack_wait(name)));
        if queue.changed <= as_of && queue.arriving == 0 {
            self.bytes = self.bytes - queue.bytes + bytes;
            (queue.messages, queue.bytes) = (messages, bytes);
        }
        self.forget_if_unused(name);
    }

    /// What time brings about first.
    pub(crate) fn next(&self) -> Option<(u64, u64)> {
        self.timers.first_key_value().map(|(&key, _)| key)
    }

    /// Gives an event to the first that waits and is still there. Otherwise gives it back.
    pub(crate) fn hand_out(&mut self, mut held: HeldEvent, now: u64) -> Option<HeldEvent> {
        let lease = self.number();
        let queue = self.queues.get_mut(&held.queue)?;
        let policy = (queue.policy.ack_mode, queue.policy.lease);
        while let Some((_, waiter)) = queue.waiters.pop_first() {
            let taken = TakenEvent { event: held.event.clone(), sequence: held.sequence, lease, policy };
            if waiter.send(Ok(taken)).is_err() {
                continue;
            }
            queue.leased += 1;
            held.ends = now.saturating_add(millis(queue.policy.longest_hold()));
            let next = held.ends.min(held.confirmed + millis(queue.ack_wait) / 3);
            self.fates.taken += 1;
            held.timer = Some((next, lease));
            self.timers.insert((next, lease), DueAction::Lease(lease));
            self.leases.insert(lease, held);
            return None;
        }
        Some(held)
    }

    /// The event that is held under this lease, which ends.
    pub(crate) fn end_lease(&mut self, lease: u64) -> Option<HeldEvent> {
        let mut held = self.leases.remove(&lease)?;
        if let Some(timer) = held.timer.take() {
            self.timers.remove(&timer);
        }
        if let Some(queue) = self.queues.get_mut(&held.queue) {
            queue.leased -= 1;
        }
        self.forget_if_unused(&held.queue);
        Some(held)
    }

    /// Sets when something happens to a lease next.
    pub(crate) fn set_timer(&mut self, lease: u64, time: u64) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        if let Some(timer) = held.timer.replace((time, lease)) {
            self.timers.remove(&timer);
        }
        self.timers.insert((time, lease), DueAction::Lease(lease));
    }

    /// A queue is known as long as somebody needs it.
    pub(crate) fn forget_if_unused(&mut self, name: &Name) {
        if self.queues.get(name).is_some_and(NatsQueue::is_forgettable)
            && let Some(queue) = self.queues.remove(name)
        {
            self.bytes -= queue.bytes;
        }
    }

    pub(crate) fn usage(&self) -> StoreUsage {
        let used = self.queues.values().filter(|queue| queue.is_used());
        let mut usage = StoreUsage { bytes: self.bytes, ..StoreUsage::default() };
        for queue in used {
            usage.queues += 1;
            usage.events += queue.events();
            usage.waiting += queue.waiters.len();
        }
        usage
    }

    pub(crate) fn list(&self) -> Vec<QueueUsage> {
        let usage = |(name, queue): (&Name, &NatsQueue)| QueueUsage {
            queue: name.to_string(),
            ready: queue.events().saturating_sub(queue.leased),
            delayed: 0,
            leased: queue.leased,
            waiting: queue.waiters.len(),
            bytes: queue.bytes,
            dead_letters: queue.policy.dead.as_ref().map(|(_, name)| name.to_string()),
        };
        let mut all: Vec<_> = self.queues.iter().filter(|(_, queue)| queue.is_used()).map(usage).collect();
        all.sort_by(|one, other| one.queue.cmp(&other.queue));
        all
    }
}

/// Rounded up, so that nothing comes early.
pub(crate) fn millis(time: Duration) -> u64 {
    crate::clock::millis(time)
}
