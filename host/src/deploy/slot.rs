//! The place of an app: which of its generations serve, which one was before, and what has been tried.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio::sync::OwnedMutexGuard;

use super::files::Stamp;
use super::record::{Entry, Record, Shown, State};
use super::split::{Divider, Split};
use super::{DeployError, Spec};
use crate::generation::Generation;
use crate::guest::{App, Source};
use crate::limit::Limit;

/// How many deploys are remembered.
const REMEMBERED: usize = 20;

/// A component that serves, or has served, as a generation of its app.
pub struct Deployed {
    /// What its requests know of it.
    pub generation: Arc<Generation>,
    /// Runs them. A generation that a rollback made shares it with the one that it came from.
    pub app: Arc<App>,
    pub(super) digest: Arc<str>,
    /// Kept for a configuration that wants the same component with other grants.
    pub(super) source: Source,
}

/// Where an app's requests find the generation that serves them.
pub struct Slot {
    pub(super) name: Arc<str>,
    /// Its requests in progress.
    pub requests: Arc<Limit>,
    spec: ArcSwap<Spec>,
    serving: ArcSwap<Serving>,
    previous: Mutex<Option<Arc<Deployed>>>,
    next_number: AtomicU64,
    entries: Mutex<VecDeque<Entry>>,
    /// What is being tried, and how far it has come.
    trying: Mutex<Option<(Record, State)>>,
    /// The file that was read last.
    seen: Mutex<Option<Stamp>>,
    deploying: Arc<tokio::sync::Mutex<()>>,
}

/// What serves now.
struct Serving {
    current: Arc<Deployed>,
    canary: Option<Canary>,
}

/// A generation that serves some of the requests.
struct Canary {
    deployed: Arc<Deployed>,
    divider: Divider,
}

/// Held by the one change of a slot that there is at a time.
pub(super) type Changing = OwnedMutexGuard<()>;

impl Serving {
    fn all(&self) -> impl Iterator<Item = &Arc<Deployed>> {
        self.canary.iter().map(|canary| &canary.deployed).chain([&self.current])
    }
}

impl Slot {
    /// A place with its first generation.
    pub(super) fn new(spec: Spec, first: Deployed, record: Record, seen: Option<Stamp>) -> Self {
        let max_requests = spec.config.max_requests.unwrap_or(usize::MAX);
        let slot = Self {
            name: first.generation.app.clone(),
            requests: Limit::new(max_requests),
            spec: ArcSwap::from_pointee(spec),
            next_number: AtomicU64::new(first.generation.number + 1),
            serving: ArcSwap::from_pointee(Serving { current: Arc::new(first), canary: None }),
            previous: Mutex::default(),
            entries: Mutex::default(),
            trying: Mutex::default(),
            seen: Mutex::new(seen),
            deploying: Arc::default(),
        };
        slot.note(record, Some(&slot.current()));
        slot
    }

    /// What its configuration says.
    pub(super) fn spec(&self) -> Arc<Spec> {
        self.spec.load_full()
    }

    /// Takes another configuration, whose guests are the same, or are about to be.
    pub(super) fn configure(&self, spec: Spec) {
        self.requests.set(spec.config.max_requests.unwrap_or(usize::MAX));
        self.spec.store(Arc::new(spec));
    }

    /// For the one who changes what serves. Fails while another one does.
    pub(super) fn change(&self) -> Result<Changing, DeployError> {
        self.deploying.clone().try_lock_owned().map_err(|_| DeployError::Busy)
    }

    /// The generation for a request with these headers. The request keeps it.
    pub fn choose(&self, headers: &HeaderMap) -> Arc<Deployed> {
        let serving = self.serving.load();
        match &serving.canary {
            Some(canary) if canary.divider.takes(headers) => canary.deployed.clone(),
            _ => serving.current.clone(),
        }
    }

    /// The generation that serves all requests, or all but the canary's.
    pub fn current(&self) -> Arc<Deployed> {
        self.serving.load().current.clone()
    }

    /// The generation that serves some of them, if there is one.
    pub fn canary(&self) -> Option<Arc<Deployed>> {
        self.serving.load().canary.as_ref().map(|canary| canary.deployed.clone())
    }

    /// The one that served before, which is kept to take over again.
    pub(super) fn previous(&self) -> Option<Arc<Deployed>> {
        lock(&self.previous).clone()
    }

    /// Whether its app has gone.
    pub(super) fn is_closed(&self) -> bool {
        self.current().generation.drain_timeout().is_some()
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets another generation serve, from the next request on. The one that a rollback ends is kept in any case.
    pub(super) fn switch(&self, next: Arc<Deployed>, rollback: bool) {
        let before = self.current();
        next.generation.serve();
        self.serve(next, None);
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

    /// Lets another generation serve some requests beside the current one.
    pub(super) fn begin_canary(&self, next: Arc<Deployed>, split: Split) {
        self.serve(self.current(), Some(Canary { deployed: next, divider: Divider::new(split) }));
    }

    /// Lets the current one serve all requests again.
    pub(super) fn end_canary(&self) {
        self.serve(self.current(), None);
    }

    /// Its app is no more: what runs is told.
    pub(super) fn close(&self) {
        let drain_timeout = self.spec().config.drain_timeout;
        self.serving.load().all().for_each(|deployed| deployed.generation.replace(drain_timeout));
    }

    /// The one place where what serves changes.
    fn serve(&self, current: Arc<Deployed>, canary: Option<Canary>) {
        let now = Arc::new(Serving { current, canary });
        // First the switch: a request that finds itself replaced, and is sent again, finds what serves now.
        let before = self.serving.swap(now.clone());
        let drain_timeout = self.spec().config.drain_timeout;
        for gone in before.all().filter(|gone| !now.all().any(|deployed| Arc::ptr_eq(deployed, gone))) {
            gone.generation.replace(drain_timeout);
        }
    }

    /// Notes that a component is being tried, until what this gives is dropped.
    pub(super) fn try_out(&self, record: Record) -> Trying<'_> {
        *lock(&self.trying) = Some((record, State::Verifying));
        Trying(self)
    }

    /// Whether a component with this digest was refused, or taken back.
    pub(super) fn was_refused(&self, digest: &str) -> bool {
        lock(&self.entries)
            .iter()
            .any(|Entry { record, .. }| record.digest == digest && record.error.is_some())
    }

    /// The file that was read last.
    pub(super) fn seen(&self) -> Option<Stamp> {
        *lock(&self.seen)
    }

    /// Notes that a file was read.
    pub(super) fn saw(&self, stamp: Stamp) {
        *lock(&self.seen) = Some(stamp);
    }

    /// Notes a deploy. One that was refused made no generation.
    pub(super) fn note(&self, record: Record, made: Option<&Arc<Deployed>>) {
        let mut entries = lock(&self.entries);
        if entries.len() == REMEMBERED {
            entries.pop_front();
        }
        let generation = made.map(|made| made.generation.clone());
        let app = made.map_or_else(Weak::new, |made| Arc::downgrade(&made.app));
        entries.push_back(Entry { record, generation, app });
    }

    /// Notes one more step of a generation, or why it was taken back.
    pub(super) fn amend(&self, generation: u64, change: impl FnOnce(&mut Record)) -> Option<Record> {
        let mut entries = lock(&self.entries);
        let entry = entries.iter_mut().find(|entry| entry.record.generation == generation)?;
        change(&mut entry.record);
        Some(entry.record.clone())
    }

    /// Notes why a generation was taken back. It does not serve again by a rollback.
    pub(super) fn take_back(&self, generation: u64, why: &str) -> Option<Record> {
        let gone = lock(&self.previous).take_if(|previous| previous.generation.number == generation);
        drop(gone);
        self.amend(generation, |record| record.error = Some(why.to_owned()))
    }

    /// What has been tried, the latest first, and what became of each.
    pub fn history(&self) -> Vec<Shown> {
        let (serving, previous) = (self.serving.load_full(), self.previous());
        let is = |deployed: Option<&Arc<Deployed>>, number| {
            deployed.is_some_and(|deployed| deployed.generation.number == number)
        };
        let kept = |entry: &Entry| {
            serving.all().chain(&previous).any(|kept| entry.app.as_ptr() == Arc::as_ptr(&kept.app))
        };
        let canary = serving.canary.as_ref().map(|canary| &canary.deployed);
        let state = |entry: &Entry| match entry.record.generation {
            _ if entry.record.error.is_some() => State::Refused,
            number if is(Some(&serving.current), number) => State::Current,
            number if is(canary, number) => State::Canary,
            number if is(previous.as_ref(), number) => State::Previous,
            _ if entry.is_running() => State::Draining,
            _ if entry.app.strong_count() > 0 && !kept(entry) => State::Draining,
            _ => State::Gone,
        };
        let trying = lock(&self.trying).clone();
        let trying = trying.map(|(record, state)| (Entry::tried(record), state));
        let entries = lock(&self.entries);
        let ended = entries.iter().rev().map(|entry| (entry.clone(), state(entry)));
        trying.into_iter().chain(ended).map(Shown::from).collect()
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
