//! Queues: each event goes to one consumer, under a lease.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use linger_base::Name;
use linger_config::QueuesConfig;

use super::queue::{LocalQueue, StoredEvent};
use super::timers::TimerTable;
use super::{LocalStore, check_size, size, told};
use crate::journal::{Journal, JournalEntry, QueueRecord};
use crate::wait::{LeaseSender, QueueWait, TakenEvent, WaitingLines};
use crate::{
    EventId, EventTotals, LeaseId, LimitKind, NewEvent, QueueUsage, Schedule, Settlement, StoreError,
    StoreUsage,
};

#[derive(Default)]
pub(super) struct LocalQueues {
    queues: HashMap<Name, LocalQueue>,
    /// Of all queues.
    bytes: u64,
    /// Counts over all queues, so that an id is not used again even when its queue came and went.
    next_sequence: u64,
    next_ticket: u64,
    next_lease: u64,
    /// By sequence.
    timers: TimerTable,
    fates: EventTotals,
}

impl<J: Journal> LocalStore<J> {
    pub(super) fn restore_queues(self: &Arc<Self>, records: Vec<QueueRecord>) {
        let now = self.clock.now();
        let mut state = self.queues.lock();
        let state = &mut *state;
        for record in records {
            let (name, size) = (record.queue.clone(), size(&record.data));
            state.next_sequence = state.next_sequence.max(record.sequence + 1);
            // What was there stays, whatever the limits are now.
            state.restored(&name, &self.limits.queues);
            state.charge(&name, size);
            let (handed_out, mut stored) = (record.handed_out, StoredEvent::restored(record));
            if handed_out {
                // Whoever had it went with the process.
                stored.returns(true);
                let (entry, _) = self.requeue_entry(state, stored);
                self.journal.note(entry);
            } else {
                self.place(state, stored, now);
            }
            state.forget_if_unused(&name);
        }
    }

    pub(super) fn push_now(
        self: &Arc<Self>,
        name: &Name,
        event: NewEvent,
        schedule: Schedule,
    ) -> Result<impl Future<Output = Result<EventId, StoreError>> + Send + use<J>, StoreError> {
        check_size(&event.data, self.limits.queues.max_event_size)?;
        let (sender, receiver) = oneshot::channel();
        let mut state = self.queues.lock();
        let sequence = state.admit(name, size(&event.data), &self.limits.queues)?;
        let due = schedule.delay.map(|delay| self.clock.after(delay));
        let wanted = due.is_none() && state.queues.get(name).is_some_and(LocalQueue::is_waited_for);
        let record = QueueRecord {
            queue: name.clone(),
            sequence,
            life: self.life,
            data: event.data,
            content_type: event.content_type,
            due,
            expires: schedule.time_to_live.map(|time| self.clock.after(time)),
            attempts: 0,
            maybe_delivered: false,
            handed_out: wanted,
        };
        let stored = StoredEvent::new(record.clone(), !J::KEEPS || wanted);
        let store = Arc::downgrade(self);
        let unwritten = self.journal.record(JournalEntry::Insert(record), move |written| {
            let id = stored.id();
            if let Some(store) = store.upgrade() {
                store.arrive(stored, written.is_ok());
            }
            // Who pushed may have gone. The event stays.
            let _ = sender.send(written.map(|()| id));
        });
        drop(state);
        if let Some(arrived) = unwritten {
            arrived(Ok(()));
        }
        Ok(told(receiver))
    }

    /// An event has been written down, or could not be.
    fn arrive(self: &Arc<Self>, stored: StoredEvent, written: bool) {
        let name = stored.record.queue.clone();
        let mut state = self.queues.lock();
        let state = &mut *state;
        let Some(queue) = state.queues.get_mut(&name) else { return };
        queue.arriving -= 1;
        if written {
            state.fates.pushed += 1;
            self.place(state, stored, self.clock.now());
            self.serve(state, &name);
        } else {
            state.release(&stored);
        }
        state.forget_if_unused(&name);
    }

    /// Puts an event where it belongs: among those that can be taken, or aside until it can. One that is of no
    /// use any more is gone.
    fn place(&self, state: &mut LocalQueues, mut stored: StoredEvent, now: u64) {
        if stored.is_over(now) {
            state.fates.expired += 1;
            return self.journal.note(self.remove(state, stored));
        }
        let LocalQueues { queues, timers, .. } = state;
        let Some(queue) = queues.get_mut(&stored.record.queue) else { return };
        stored.lease = None;
        stored.record.due = stored.record.due.filter(|&due| due > now);
        let QueueRecord { due, expires, .. } = stored.record;
        self.set_timer(timers, &mut stored, [due, expires].into_iter().flatten().min());
        let sequence = stored.record.sequence;
        if due.is_some() {
            queue.delayed.insert(sequence, stored);
        } else {
            queue.ready.insert(sequence, stored);
        }
    }

    fn set_timer(&self, timers: &mut TimerTable, stored: &mut StoredEvent, time: Option<u64>) {
        let QueueRecord { sequence, queue, .. } = &stored.record;
        if timers.set(*sequence, queue, &mut stored.timer, time) {
            self.alarm.notify_one();
        }
    }

    /// Lets go of an event. Gives what is to be written of that.
    fn remove(&self, state: &mut LocalQueues, mut stored: StoredEvent) -> JournalEntry {
        self.set_timer(&mut state.timers, &mut stored, None);
        state.release(&stored);
        let QueueRecord { queue, sequence, .. } = stored.record;
        JournalEntry::Remove { queue, sequence, marked: stored.marked }
    }

    /// Returns an event to its queue, of which `entry` tells, if it is of use still.
    fn requeue_with(
        &self,
        state: &mut LocalQueues,
        mut stored: StoredEvent,
        entry: JournalEntry,
    ) -> JournalEntry {
        let now = self.clock.now();
        if stored.is_over(now) {
            state.fates.expired += 1;
            return self.remove(state, stored);
        }
        stored.noted = !J::KEEPS;
        self.place(state, stored, now);
        entry
    }

    /// Hands events to those who wait. That an event may be handed out is written down before it is.
    fn serve(self: &Arc<Self>, state: &mut LocalQueues, name: &Name) {
        while let Some((waiter, mut stored)) = state.queues.get_mut(name).and_then(LocalQueue::next_pair) {
            if stored.noted {
                self.hand_out(state, stored, waiter);
                continue;
            }
            let QueueRecord { sequence, attempts, maybe_delivered, .. } = stored.record;
            let entry = JournalEntry::HandOut { queue: name.clone(), sequence, attempts, maybe_delivered };
            self.set_timer(&mut state.timers, &mut stored, None);
            stored.marked = true;
            if let Some(queue) = state.queues.get_mut(name) {
                queue.leased.insert(sequence, stored);
            }
            let (store, name) = (Arc::downgrade(self), name.clone());
            let noted = move |written| {
                if let Some(store) = store.upgrade() {
                    store.noted(&name, sequence, waiter, written);
                }
            };
            // Where nothing is kept, all is noted.
            drop(self.journal.record(entry, noted));
        }
    }

    fn noted(
        self: &Arc<Self>,
        name: &Name,
        sequence: u64,
        waiter: LeaseSender,
        written: Result<(), StoreError>,
    ) {
        let mut state = self.queues.lock();
        let state = &mut *state;
        let Some(queue) = state.queues.get_mut(name) else { return };
        let Some(mut stored) = queue.leased.remove(&sequence) else { return };
        match written {
            Ok(()) => {
                stored.noted = true;
                self.hand_out(state, stored, waiter);
            }
            Err(error) => {
                self.place(state, stored, self.clock.now());
                // It may have left.
                let _ = waiter.send(Err(error));
            }
        }
        self.serve(state, name);
        state.forget_if_unused(name);
    }

    /// Gives an event to one that waits. If that has left, the event stays where it was.
    fn hand_out(&self, state: &mut LocalQueues, mut stored: StoredEvent, waiter: LeaseSender) {
        let Some(queue) = state.queues.get_mut(&stored.record.queue) else { return };
        let (sequence, lease) = (stored.record.sequence, state.next_lease);
        let policy = (queue.policy.ack_mode, queue.policy.lease);
        let until = self.clock.after(queue.policy.longest_hold());
        if waiter.send(Ok(TakenEvent { event: stored.taken(), sequence, lease, policy })).is_err() {
            return self.journal.note(self.release_entry(state, stored));
        }
        state.next_lease += 1;
        state.fates.taken += 1;
        stored.lease = Some(lease);
        self.set_timer(&mut state.timers, &mut stored, Some(until));
        queue.leased.insert(sequence, stored);
    }

    pub(super) fn take_now(self: Arc<Self>, name: &Name) -> Result<QueueWait<Self>, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.queues.lock();
        let ticket = state.next_ticket;
        let queue = state.queue(name, &self.limits.queues)?;
        // Who has left is in the way only until it is dropped.
        if queue.waiters.len() >= self.limits.queues.max_waiters {
            return Err(StoreError::OverLimit(LimitKind::Waiters));
        }
        queue.waiters.insert(ticket, sender);
        state.next_ticket += 1;
        self.serve(&mut state, name);
        drop(state);
        Ok(QueueWait::new(self, name.clone(), ticket, receiver))
    }

    pub(super) fn settle_now(
        self: &Arc<Self>,
        lease: &LeaseId,
        settlement: Settlement,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + Send + use<J>, StoreError> {
        let LeaseId { queue: name, sequence, lease } = lease;
        let (sender, receiver) = oneshot::channel();
        // Nobody may want to know.
        let told_so = move |written| drop(sender.send(written));
        let mut state = self.queues.lock();
        let stored = state
            .queues
            .get_mut(name)
            .and_then(|queue| queue.take_leased(*sequence, *lease))
            .ok_or(StoreError::Settled)?;
        let unwritten = self.settle_stored(&mut state, stored, settlement, told_so);
        drop(state);
        if let Some(told_so) = unwritten {
            told_so(Ok(()));
        }
        Ok(told(receiver))
    }

    /// Settles an event that has left the leased ones. Gives back who is to be told, if nothing is written.
    fn settle_stored<F>(
        self: &Arc<Self>,
        state: &mut LocalQueues,
        mut stored: StoredEvent,
        settlement: Settlement,
        told_so: F,
    ) -> Option<F>
    where
        F: FnOnce(Result<(), StoreError>) + Send + 'static,
    {
        let name = stored.record.queue.clone();
        let unwritten = match settlement {
            Settlement::Ack => {
                state.fates.committed += 1;
                self.journal.record(self.remove(state, stored), told_so)
            }
            Settlement::Release => self.journal.record(self.release_entry(state, stored), told_so),
            Settlement::Requeue { maybe_delivered } => {
                state.fates.returned += 1;
                stored.returns(maybe_delivered);
                let (entry, place) = self.requeue_entry(state, stored);
                let unwritten = self.journal.record(entry, told_so);
                self.serve(state, &place);
                unwritten
            }
        };
        self.serve(state, &name);
        state.forget_if_unused(&name);
        unwritten
    }

    /// Returns an event that nobody saw. Gives what is to be written of that.
    fn release_entry(&self, state: &mut LocalQueues, mut stored: StoredEvent) -> JournalEntry {
        let entry = stored.requeue_entry();
        self.requeue_with(state, stored, entry)
    }

    /// Returns an event to its queue, or moves it to the dead letters. Gives what is to be written of that, and
    /// where the event is.
    fn requeue_entry(&self, state: &mut LocalQueues, mut stored: StoredEvent) -> (JournalEntry, Name) {
        let from = stored.record.queue.clone();
        let (place, entry) = match self.admit_dead_letter(state, &stored) {
            Some(dead) => {
                let queue = dead.clone();
                stored.record =
                    QueueRecord { queue, due: None, expires: None, handed_out: false, ..stored.record };
                stored.marked = true;
                (dead, JournalEntry::Move { from, record: stored.record.clone() })
            }
            None => (from, stored.requeue_entry()),
        };
        (self.requeue_with(state, stored, entry), place)
    }

    /// Makes room for an event that was handed out too often, and says where. Without room it stays where it is.
    fn admit_dead_letter(&self, state: &mut LocalQueues, stored: &StoredEvent) -> Option<Name> {
        let name = &stored.record.queue;
        let (attempts, dead) = state.queues.get(name)?.policy.dead.clone()?;
        if stored.record.attempts < attempts {
            return None;
        }
        let (id, size) = (stored.id(), size(&stored.record.data));
        state.release(stored);
        match state.make_room(&dead, size, 0, &self.limits.queues) {
            Ok(()) => {
                state.fates.dead += 1;
                tracing::warn!(
                    "queue {name}: {id} is moved to the dead letters in {dead} after {attempts} attempts"
                );
                Some(dead)
            }
            Err(error) => {
                tracing::warn!("queue {name}: {id} stays, because {dead} does not accept it: {error}");
                state.charge(name, size);
                None
            }
        }
    }

    pub(super) fn renew_now(&self, lease: &LeaseId, time: Duration) -> Result<(), StoreError> {
        let mut state = self.queues.lock();
        let LocalQueues { queues, timers, .. } = &mut *state;
        let leased = queues.get_mut(&lease.queue).and_then(|queue| queue.leased.get_mut(&lease.sequence));
        let stored = leased.filter(|stored| stored.lease == Some(lease.lease)).ok_or(StoreError::Settled)?;
        self.set_timer(timers, stored, Some(self.clock.after(time)));
        Ok(())
    }

    /// Does what is due, and tells what is next.
    pub(super) fn act_on_queues(self: &Arc<Self>, now: u64, limit: usize) -> Option<u64> {
        let mut state = self.queues.lock();
        for _ in 0..limit {
            let Some((sequence, name)) = state.timers.due(now) else { break };
            self.time_has_come(&mut state, sequence, &name, now);
        }
        state.timers.next()
    }

    fn time_has_come(self: &Arc<Self>, state: &mut LocalQueues, sequence: u64, name: &Name, now: u64) {
        let Some(queue) = state.queues.get_mut(name) else { return };
        if let Some(mut stored) = queue.leased.remove(&sequence) {
            stored.timer = None;
            state.fates.overdue += 1;
            tracing::warn!("queue {name}: the lease on {} has expired; the event is requeued", stored.id());
            let returns = Settlement::Requeue { maybe_delivered: true };
            let _ = self.settle_stored(state, stored, returns, |_| ());
        } else if let Some(mut stored) =
            queue.delayed.remove(&sequence).or_else(|| queue.ready.remove(&sequence))
        {
            stored.timer = None;
            self.place(state, stored, now);
            self.serve(state, name);
            state.forget_if_unused(name);
        }
    }

    /// Removes what nobody holds.
    pub(super) fn purge_now(
        &self,
        name: &Name,
    ) -> impl Future<Output = Result<usize, StoreError>> + Send + use<J> {
        let mut state = self.queues.lock();
        let state = &mut *state;
        let mut removed = Vec::new();
        if let Some(queue) = state.queues.get_mut(name) {
            removed.extend(std::mem::take(&mut queue.ready).into_values());
            removed.extend(std::mem::take(&mut queue.delayed).into_values());
        }
        let number = removed.len();
        state.fates.purged += number as u64;
        let mut receivers = Vec::new();
        for stored in removed {
            let (sender, receiver) = oneshot::channel();
            // Nobody may want to know.
            let told_so = move |written| drop(sender.send(written));
            match self.journal.record(self.remove(state, stored), told_so) {
                Some(told_so) => told_so(Ok(())),
                None => receivers.push(told(receiver)),
            }
        }
        state.forget_if_unused(name);
        async move {
            for written in receivers {
                written.await?;
            }
            Ok(number)
        }
    }
}

impl<J: Journal> WaitingLines for LocalStore<J> {
    fn leave(&self, name: &Name, ticket: u64) {
        let mut state = self.queues.lock();
        if let Some(queue) = state.queues.get_mut(name) {
            queue.waiters.remove(&ticket);
            state.forget_if_unused(name);
        }
    }
}

impl LocalQueues {
    /// Makes room for an event, and gives its sequence.
    fn admit(&mut self, name: &Name, size: u64, limits: &QueuesConfig) -> Result<u64, StoreError> {
        self.make_room(name, size, 1, limits)?;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Ok(sequence)
    }

    fn make_room(
        &mut self,
        name: &Name,
        size: u64,
        arriving: usize,
        limits: &QueuesConfig,
    ) -> Result<(), StoreError> {
        let total = self.bytes + size;
        let queue = self.queue(name, limits)?;
        let reached = if queue.events() >= limits.max_events {
            Some(LimitKind::Events)
        } else if queue.bytes + size > limits.max_bytes.as_u64() {
            Some(LimitKind::Bytes)
        } else {
            (total > limits.max_total_bytes.as_u64()).then_some(LimitKind::TotalBytes)
        };
        if let Some(limit) = reached {
            self.forget_if_unused(name);
            return Err(StoreError::OverLimit(limit));
        }
        queue.bytes += size;
        queue.arriving += arriving;
        self.bytes = total;
        Ok(())
    }

    fn charge(&mut self, name: &Name, size: u64) {
        self.bytes += size;
        if let Some(queue) = self.queues.get_mut(name) {
            queue.bytes += size;
        }
    }

    /// The bytes of an event are free again.
    fn release(&mut self, stored: &StoredEvent) {
        let size = size(&stored.record.data);
        self.bytes -= size;
        if let Some(queue) = self.queues.get_mut(&stored.record.queue) {
            queue.bytes -= size;
        }
    }

    fn queue(&mut self, name: &Name, limits: &QueuesConfig) -> Result<&mut LocalQueue, StoreError> {
        if self.queues.len() >= limits.max_queues && !self.queues.contains_key(name) {
            return Err(StoreError::OverLimit(LimitKind::Names));
        }
        Ok(self.restored(name, limits))
    }

    /// A queue, whatever the limits are.
    fn restored(&mut self, name: &Name, limits: &QueuesConfig) -> &mut LocalQueue {
        self.queues.entry(name.clone()).or_insert_with(|| LocalQueue::new(limits.policy(name)))
    }

    /// A queue exists as long as somebody needs it, so that names cost nothing once they are not used.
    fn forget_if_unused(&mut self, name: &Name) {
        if self.queues.get(name).is_some_and(LocalQueue::is_unused) {
            self.queues.remove(name);
        }
    }

    pub(super) fn usage(&self) -> StoreUsage {
        let events = self.queues.values().map(LocalQueue::events).sum();
        let waiting = self.queues.values().map(|queue| queue.waiters.len()).sum();
        StoreUsage { queues: self.queues.len(), events, bytes: self.bytes, waiting, ..StoreUsage::default() }
    }

    pub(super) fn fates(&self) -> EventTotals {
        self.fates
    }

    pub(super) fn list(&self) -> Vec<QueueUsage> {
        let usage = |(name, queue): (&Name, &LocalQueue)| QueueUsage {
            queue: name.to_string(),
            ready: queue.ready.len(),
            delayed: queue.delayed.len(),
            leased: queue.leased.len(),
            waiting: queue.waiters.len(),
            bytes: queue.bytes,
            dead_letters: queue.policy.dead.as_ref().map(|(_, name)| name.to_string()),
        };
        let mut all: Vec<_> = self.queues.iter().map(usage).collect();
        all.sort_by(|one, other| one.queue.cmp(&other.queue));
        all
    }
}
