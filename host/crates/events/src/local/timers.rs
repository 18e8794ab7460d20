//! The timers of a store.

use std::collections::BTreeMap;

use linger_base::Name;

/// One time for each number that has any.
#[derive(Default)]
pub(super) struct TimerTable(BTreeMap<(u64, u64), Name>);

impl TimerTable {
    /// Sets the time of a number, whose time was `old`. Returns whether it is now the next of all.
    pub(super) fn set(&mut self, number: u64, name: &Name, old: &mut Option<u64>, new: Option<u64>) -> bool {
        if let Some(time) = old.take() {
            self.0.remove(&(time, number));
        }
        *old = new;
        let Some(time) = new else { return false };
        let next = self.next().is_none_or(|next| time < next);
        self.0.insert((time, number), name.clone());
        next
    }

    /// Takes a number whose time has come.
    pub(super) fn due(&mut self, now: u64) -> Option<(u64, Name)> {
        let first = self.0.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, number), name) = first.remove_entry();
        Some((number, name))
    }

    /// The next time.
    pub(super) fn next(&self) -> Option<u64> {
        self.0.first_key_value().map(|(&(time, _), _)| time)
    }
}
