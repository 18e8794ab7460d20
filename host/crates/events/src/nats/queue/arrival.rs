//! Events that NATS delivers to this host, and the waiters that get them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::message::Message as Handed;
use tokio::time::sleep;

use linger_base::Name;

use crate::nats::NatsContext;
use crate::nats::message::{DeadLetterOrigin, EventMetadata, stored_size};
use crate::nats::queue::answer;
use crate::nats::queue::notes::{EventKey, HandoutMark, RedeliveryNote};
use crate::nats::queue::state::{HeldEvent, NatsQueue};
use crate::wait::woken;
use crate::{Event, EventId};

/// How much later than an event that returned a note of it may come.
const NOTE_IS_LATE: Duration = Duration::from_millis(50);

/// How long it is gathered how far events have been handed out before it is told.
const MARKS: Duration = Duration::from_millis(20);

impl NatsContext {
    /// An event has been handed out to this host. What another one has told of it may be a little later.
    pub(crate) fn arrived(self: &Arc<Self>, name: &Name, epoch: u32, message: Message) {
        let Some(numbered) = self.numbered(name, message) else { return };
        let (key, delivered) = ((name.clone(), epoch, numbered.sequence), numbered.delivered);
        if self.queues.lock().notes.tell_of(&key, delivered) {
            return self.arrived_and_known(name, epoch, numbered);
        }
        let shared = self.clone();
        drop(self.work(async move {
            shared.hear_of(&key, delivered).await;
            shared.arrived_and_known(&key.0, epoch, numbered);
            Ok(())
        }));
    }

    /// A message with what NATS says of it. None, with a line in the log, if that makes no sense.
    pub(crate) fn numbered(&self, name: &Name, message: Message) -> Option<NumberedMessage> {
        let handed = Handed { message, context: self.link.js.clone() };
        let (sequence, delivered) = match handed.info() {
            Ok(info) => (info.stream_sequence, u64::try_from(info.delivered).unwrap_or(1)),
            Err(error) => {
                tracing::warn!("queue {name}: NATS delivered a malformed message: {error}");
                return None;
            }
        };
        Some(NumberedMessage { message: handed.message, sequence, delivered })
    }

    /// The same for each of these.
    pub(crate) fn all_arrived(self: &Arc<Self>, name: &Name, epoch: u32, messages: Vec<Message>) {
        for message in messages {
            self.arrived(name, epoch, message);
        }
    }

    /// Waits until it is told what became of an event, but not for long: whoever had it may have died.
    async fn hear_of(&self, key: &EventKey, delivered: u64) {
        let told = woken(&self.told, || self.queues.lock().notes.tell_of(key, delivered).then_some(()));
        // If nothing is told, that is what is known.
        let _ = tokio::time::timeout(NOTE_IS_LATE, told).await;
    }

    fn arrived_and_known(self: &Arc<Self>, name: &Name, epoch: u32, numbered: NumberedMessage) {
        let Some(mut arrival) = self.read(name, epoch, numbered) else { return };
        let now = self.clock.now();
        if arrival.is_over(now) {
            return drop(self.work(self.clone().expire(arrival)));
        }
        if let Some(due) = arrival.due.filter(|&due| due > now) {
            arrival.held.note.untaken += 1;
            let later = answer::later(Duration::from_millis(due - now));
            return drop(self.work(self.clone().requeue_with(arrival.held, later)));
        }
        if arrival.was_handed_out_too_often(&self.queues.lock().queues) {
            return drop(self.work(self.clone().bury_or_hand_out(arrival.held)));
        }
        self.hand_out(arrival.held);
    }

    pub(crate) fn hand_out(self: &Arc<Self>, held: HeldEvent) {
        let mut state = self.queues.lock();
        let next = state.next();
        let back = state.hand_out(held, self.clock.now());
        if state.next() != next {
            self.alarm.notify_one();
        }
        drop(state);
        if let Some(mut held) = back {
            held.note.untaken += 1;
            drop(self.work(self.clone().requeue_with(held, answer::BACK)));
        }
    }

    /// What a message says, with what is known of it.
    pub(crate) fn read(
        self: &Arc<Self>,
        name: &Name,
        epoch: u32,
        numbered: NumberedMessage,
    ) -> Option<UnclaimedEvent> {
        let NumberedMessage { message, sequence, delivered } = numbered;
        let size = stored_size(&message.subject, message.headers.as_ref(), message.payload.len());
        let EventMetadata { content_type, due, expires, origin } =
            EventMetadata::read(message.headers.as_ref());
        let mut state = self.queues.lock();
        let mut note = state.notes.of(&(name.clone(), epoch, sequence), delivered);
        let mark = state.mark(name, &self.limits.queues);
        note.maybe_delivered |= mark.pass(epoch, sequence) && delivered <= 1;
        let is_news = !std::mem::replace(&mut mark.is_to_be_told, true);
        drop(state);
        if is_news {
            self.fetchers.spawn_on(self.clone().tell_mark(name.clone()), &self.runtime);
        }
        let own = EventId { epoch, number: sequence };
        let origin = origin.unwrap_or(DeadLetterOrigin { id: own, attempts: 0, maybe_delivered: false });
        let attempt = u64::from(origin.attempts) + note.delivered.saturating_sub(note.untaken);
        let event = Event {
            id: origin.id,
            data: message.payload,
            content_type,
            attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            maybe_delivered: note.maybe_delivered || origin.maybe_delivered,
        };
        let held = HeldEvent {
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
        Some(UnclaimedEvent { held, due })
    }

    /// Tells all hosts how far events have been handed out: sooner than NATS can have another leader, and not for each.
    async fn tell_mark(self: Arc<Self>, name: Name) {
        sleep(MARKS).await;
        let told = {
            let mut state = self.queues.lock();
            let mark = state.mark(&name, &self.limits.queues);
            mark.is_to_be_told = false;
            mark.tell(&name)
        };
        // Who does not hear it does not suspect.
        let _ = self.link.client.publish(self.link.names.notes(), told).await;
    }

    /// NATS may have forgotten what it has handed out.
    pub(crate) fn suspect(&self, name: &Name) {
        self.queues.lock().mark(name, &self.limits.queues).suspect();
    }

    /// Another host, or this one, has told of an event, or how far events have been handed out.
    pub(crate) fn heard(&self, note: &[u8]) {
        if let Some((queue, epoch, number)) = HandoutMark::hear(note) {
            self.queues.lock().mark(&queue, &self.limits.queues).pass(epoch, number);
            return;
        }
        if let Some((key, note)) = RedeliveryNote::hear(note) {
            self.queues.lock().notes.keep(key, note);
            self.told.notify_waiters();
        }
    }
}

/// A message that was handed out.
pub(crate) struct NumberedMessage {
    message: Message,
    /// Its place in the stream.
    sequence: u64,
    /// How many times it was handed out.
    delivered: u64,
}

/// An event that was handed out to this host, and of which nobody knows yet.
pub(crate) struct UnclaimedEvent {
    pub(crate) held: HeldEvent,
    /// When it can be taken.
    pub(crate) due: Option<u64>,
}

impl UnclaimedEvent {
    pub(crate) fn is_over(&self, now: u64) -> bool {
        self.held.expires.is_some_and(|expires| expires <= now)
    }

    fn was_handed_out_too_often(&self, queues: &HashMap<Name, NatsQueue>) -> bool {
        let dead = queues.get(&self.held.queue).and_then(|queue| queue.policy.dead.as_ref());
        dead.is_some_and(|(attempts, _)| self.held.event.attempt > *attempts)
    }
}
