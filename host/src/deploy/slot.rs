//! The place of an app: which of its generations serves, which one was before, and what has been tried.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;

use super::record::{Record, State};
use crate::config;
use crate::generation::Generation;
use crate::guest::{App, Kinds};

/// How many deploys are remembered.
const REMEMBERED: usize = 20;

/// A component that serves, or has served, as a generation of its app.
pub struct Deployed {
    /// What its requests know of it.
    pub generation: Arc<Generation>,
    /// Runs them. A generation that a rollback made shares it with the one that it came from.
    pub app: Arc<App>,
    pub(super) digest: Arc<str>,
    pub(super) source: String,
}

/// Where an app's requests find the generation that serves them.
pub struct Slot {
    pub(super) name: Arc<str>,
    pub(super) config: config::App,
    pub(super) kinds: Kinds,
    current: ArcSwap<Deployed>,
    previous: Mutex<Option<Arc<Deployed>>>,
    next_number: AtomicU64,
    records: Mutex<VecDeque<(Record, Weak<App>)>>,
    /// What is being tried, and how far it has come.
    trying: Mutex<Option<(Record, State)>>,
    /// Held by the one deploy that there is at a time.
    pub(super) deploying: tokio::sync::Mutex<()>,
}

impl Slot {
    /// A place with its first generation.
    pub(super) fn new(config: config::App, kinds: Kinds, first: Deployed, record: Record) -> Self {
        let app = Arc::downgrade(&first.app);
        Self {
            name: first.generation.app.clone(),
            config,
            kinds,
            next_number: AtomicU64::new(first.generation.number + 1),
            current: ArcSwap::from_pointee(first),
            previous: Mutex::default(),
            records: Mutex::new(VecDeque::from([(record, app)])),
            trying: Mutex::default(),
            deploying: tokio::sync::Mutex::default(),
        }
    }

    /// Notes that a component is being tried, until what this gives is dropped.
    pub(super) fn try_out(&self, record: Record) -> Trying<'_> {
        *lock(&self.trying) = Some((record, State::Verifying));
        Trying(self)
    }

    /// Whether a component with this digest was refused, or taken back.
    pub(super) fn was_refused(&self, digest: &str) -> bool {
        lock(&self.records).iter().any(|(record, _)| record.digest == digest && record.error.is_some())
    }

    /// The generation that serves now. Whoever has it keeps it there.
    pub fn current(&self) -> Arc<Deployed> {
        self.current.load_full()
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// The one that served before, which is kept to take over again.
    pub(super) fn previous(&self) -> Option<Arc<Deployed>> {
        lock(&self.previous).clone()
    }

    /// Lets another generation serve, from the next request on. The one that a rollback ends is kept in any case.
    pub(super) fn switch(&self, next: Deployed, rollback: bool) {
        let before = self.current.swap(Arc::new(next));
        // First the switch: a request that finds itself replaced, and is sent again, finds the new one.
        before.generation.replace();
        let mut previous = lock(&self.previous);
        // One that has not proven itself yet is none to go back to, if there is another.
        let gone = if !rollback && before.generation.is_on_trial() && previous.is_some() {
            Some(before)
        } else {
            previous.replace(before)
        };
        drop(previous);
        drop(gone);
    }

    /// Notes a deploy that failed.
    pub(super) fn refuse(&self, record: Record) {
        self.note(record, Weak::new());
    }

    /// Notes why a generation was taken back. It does not serve again by a rollback.
    pub(super) fn doubt(&self, generation: u64, why: &str) {
        let gone = lock(&self.previous).take();
        drop(gone);
        let mut records = lock(&self.records);
        if let Some((record, _)) = records.iter_mut().find(|(record, _)| record.generation == generation) {
            record.error = Some(format!("taken back: {why}"));
        }
    }

    /// Notes a deploy.
    pub(super) fn note(&self, record: Record, app: Weak<App>) {
        let mut records = lock(&self.records);
        if records.len() == REMEMBERED {
            records.pop_front();
        }
        records.push_back((record, app));
    }

    /// What has been tried, the latest first, and what became of each.
    pub fn history(&self) -> Vec<(Record, State)> {
        let current = self.current().generation.number;
        let previous = self.previous().map(|previous| previous.generation.number);
        let state = |record: &Record, app: &Weak<App>| match record.generation {
            _ if record.error.is_some() => State::Refused,
            number if number == current => State::Current,
            number if Some(number) == previous => State::Previous,
            _ if app.strong_count() > 0 => State::Draining,
            _ => State::Gone,
        };
        let trying = lock(&self.trying).clone();
        let records = lock(&self.records);
        let ended = records.iter().rev().map(|(record, app)| (record.clone(), state(record, app)));
        trying.into_iter().chain(ended).collect()
    }
}

/// A component that is being tried.
pub(super) struct Trying<'a>(&'a Slot);

impl Trying<'_> {
    /// It has come so far.
    pub(super) fn goes_on(&self, record: &Record, state: State) {
        *lock(&self.0.trying) = Some((record.clone(), state));
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        *lock(&self.0.trying) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
