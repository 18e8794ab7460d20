//! Which events were pushed, and which were read.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};

/// For each event how often its data was read to the end.
#[derive(Default)]
pub(super) struct SoakLedger(Mutex<HashMap<usize, usize>>);

impl SoakLedger {
    pub(super) fn pushed(&self, number: usize) {
        self.events().insert(number, 0);
    }

    /// The body of an answer, and whether it came with the flag that somebody may have got it before.
    pub(super) fn read(&self, data: &str, maybe_delivered: bool) {
        let number = data.strip_prefix("event ").and_then(|rest| rest.split('.').next()?.parse().ok());
        let number = number.expect("an event");
        let mut events = self.events();
        let count = events.get_mut(&number).expect("an event that was pushed");
        *count += 1;
        assert!(*count == 1 || maybe_delivered, "event {number} was read before, and comes without a flag");
    }

    /// Those that nobody has read.
    pub(super) fn missing(&self) -> Vec<usize> {
        self.events().iter().filter(|&(_, &count)| count == 0).map(|(&number, _)| number).collect()
    }

    fn events(&self) -> MutexGuard<'_, HashMap<usize, usize>> {
        self.0.lock().unwrap()
    }
}

impl fmt::Display for SoakLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing().len();
        let events = self.events();
        let again = events.values().filter(|&&count| count > 1).count();
        write!(f, "events: {} pushed, {missing} lost, {again} read more than once", events.len())
    }
}
