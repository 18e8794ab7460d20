//! Which events were accepted, and how often each was read.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Mutex;

#[derive(Default)]
struct Events {
    accepted: HashSet<usize>,
    /// How often each was read without a flag, and with one.
    read: HashMap<usize, (usize, usize)>,
}

#[derive(Default)]
pub(super) struct NatsLedger(Mutex<Events>);

impl NatsLedger {
    pub(super) fn accepted(&self, event: usize) {
        self.0.lock().unwrap().accepted.insert(event);
    }

    pub(super) fn read(&self, body: &str, is_flagged: bool) {
        let event = body.strip_prefix("event ").and_then(|number| number.parse().ok()).expect(body);
        let mut events = self.0.lock().unwrap();
        let (unflagged, flagged) = events.read.entry(event).or_default();
        *(if is_flagged { flagged } else { unflagged }) += 1;
    }

    /// Those that were accepted and that nobody has read.
    pub(super) fn missing(&self) -> Vec<usize> {
        let events = self.0.lock().unwrap();
        events.accepted.iter().filter(|event| !events.read.contains_key(event)).copied().collect()
    }

    /// Those that came more than once without a flag.
    pub(super) fn doubled(&self) -> Vec<usize> {
        let events = self.0.lock().unwrap();
        events.read.iter().filter(|(_, (unflagged, _))| *unflagged > 1).map(|(event, _)| *event).collect()
    }
}

impl fmt::Display for NatsLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, doubled) = (self.missing().len(), self.doubled().len());
        let events = self.0.lock().unwrap();
        let again = events.read.values().filter(|(unflagged, flagged)| unflagged + flagged > 1).count();
        let flagged = events.read.values().filter(|(_, flagged)| *flagged > 0).count();
        write!(
            f,
            "{} events accepted, {missing} lost, {again} read more than once, {doubled} of those without a flag, {flagged} flagged",
            events.accepted.len()
        )
    }
}
