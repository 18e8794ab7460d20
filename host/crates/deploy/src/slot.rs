//! The slot of an app: its serving generations, the previous one, and its history of deploys.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use linger_base::FileStamp;
use linger_base::permits::Permits;
use linger_exchange::Generation;
use linger_telemetry::AppMetrics;
use linger_wasm::App;

use super::record::{DeployEntry, DeployRecord, DeployState, DeployView};
use super::split::{SplitDivider, TrafficSplit};
use super::{AppSpec, DeployError, UploadedComponent};

/// How many deploys are remembered.
const REMEMBERED: usize = 20;

/// A component that serves, or has served, as a generation of its app.
pub struct DeployedComponent {
    /// What its requests know of it.
    pub generation: Arc<Generation>,
    /// Runs them. A generation that a rollback made shares it with the one that it came from.
    pub app: Arc<App>,
    pub(super) component: UploadedComponent,
    /// What it was loaded with.
    pub(super) spec: Arc<AppSpec>,
}

/// Where an app's requests find the generation that serves them.
pub struct AppSlot {
    /// The app's name.
    pub name: Arc<str>,
    /// What is counted of it.
    pub(super) metrics: Arc<AppMetrics>,
    /// Its requests in progress.
    pub requests: Arc<Permits>,
    spec: ArcSwap<AppSpec>,
    serving: ArcSwap<ServingState>,
    previous: Mutex<Option<Arc<DeployedComponent>>>,
    next_number: AtomicU64,
    entries: Mutex<VecDeque<DeployEntry>>,
    /// What is being tried, and how far it has come.
    trying: Mutex<Option<(DeployRecord, DeployState)>>,
    /// The file that was read last, and whether it could serve.
    seen: Mutex<Option<(FileStamp, bool)>>,
    /// Digests of components that are not deployed again without being asked for.
    taken_back: Mutex<HashSet<Arc<str>>>,
    deploying: Arc<tokio::sync::Mutex<()>>,
}

/// What serves now.
struct ServingState {
    current: Arc<DeployedComponent>,
    canary: Option<Canary>,
}

/// A generation that serves some of the requests.
struct Canary {
    deployed: Arc<DeployedComponent>,
    divider: SplitDivider,
}

/// Held by the one deploy of an app that there is at a time. What takes no time does without: it all happens on one thread.
pub(super) type DeployLock = OwnedMutexGuard<()>;

impl ServingState {
    fn all(&self) -> impl Iterator<Item = &Arc<DeployedComponent>> {
        self.canary.iter().map(|canary| &canary.deployed).chain([&self.current])
    }
}

impl AppSlot {
    /// A place with its first generation.
    pub(super) fn new(first: DeployedComponent, record: DeployRecord, seen: Option<FileStamp>) -> Self {
        let spec = first.spec.clone();
        let max_requests = spec.config.max_requests.unwrap_or(usize::MAX);
        let slot = Self {
            name: first.generation.metrics.app.clone(),
            metrics: first.generation.metrics.clone(),
            requests: Permits::new(max_requests),
            spec: ArcSwap::new(spec),
            next_number: AtomicU64::new(first.generation.number + 1),
            serving: ArcSwap::from_pointee(ServingState { current: Arc::new(first), canary: None }),
            previous: Mutex::default(),
            entries: Mutex::default(),
            trying: Mutex::default(),
            seen: Mutex::new(seen.map(|stamp| (stamp, true))),
            taken_back: Mutex::default(),
            deploying: Arc::default(),
        };
        slot.note(record, Some(&slot.current()));
        slot
    }

    /// What its configuration says.
    pub(super) fn spec(&self) -> Arc<AppSpec> {
        self.spec.load_full()
    }

    /// Takes another configuration, whose guests are the same, or are about to be.
    pub(super) fn configure(&self, spec: &Arc<AppSpec>) {
        self.requests.set(spec.config.max_requests.unwrap_or(usize::MAX));
        let before = self.spec.swap(spec.clone());
        // What could not serve before may do so now.
        if !spec.has_same_guests(&before) {
            self.taken_back.lock().clear();
        }
        self.seen.lock().take_if(|(_, served)| !*served);
    }

    /// For the one who tries something that is to serve. Fails while another one does.
    pub(super) fn try_one(&self) -> Result<DeployLock, DeployError> {
        self.deploying.clone().try_lock_owned().map_err(|_| DeployError::Busy)
    }

    /// The same, when the other one has ended.
    pub(super) async fn wait_for_one(&self) -> DeployLock {
        self.deploying.clone().lock_owned().await
    }

    /// The generation for a request with these headers. The request keeps it.
    pub fn choose(&self, headers: &HeaderMap) -> Arc<DeployedComponent> {
        let serving = self.serving.load();
        match &serving.canary {
            Some(canary) if canary.divider.takes(headers) => canary.deployed.clone(),
            _ => serving.current.clone(),
        }
    }

    /// The generation that serves all requests, or all but the canary's.
    pub fn current(&self) -> Arc<DeployedComponent> {
        self.serving.load().current.clone()
    }

    /// The generation that serves some of them, if there is one.
    pub fn canary(&self) -> Option<Arc<DeployedComponent>> {
        self.serving.load().canary.as_ref().map(|canary| canary.deployed.clone())
    }

    /// Counts a limit of the app that was reached.
    pub fn record_reached(&self, limit: linger_telemetry::Reached) {
        self.metrics.record_reached(limit);
    }

    /// Instances of the generations that serve.
    pub fn instances(&self) -> usize {
        self.serving.load().all().map(|deployed| deployed.app.instance_count()).sum()
    }

    /// The one that served before, which is kept to take over again.
    pub(super) fn previous(&self) -> Option<Arc<DeployedComponent>> {
        self.previous.lock().clone()
    }

    /// Whether its app has gone.
    pub(super) fn is_closed(&self) -> bool {
        self.current().generation.drain_timeout().is_some()
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets another generation serve, from the next request on. The one that a rollback ends is kept in any case.
    pub(super) fn switch(&self, next: Arc<DeployedComponent>, rollback: bool) {
        let before = self.current();
        self.taken_back.lock().remove(&next.component.digest);
        next.generation.serve();
        self.serve(next, None);
        let mut previous = self.previous.lock();
        // One that has not proven itself yet is none to go back to, if there is another.
        let gone = if !rollback && before.generation.is_on_probation() && previous.is_some() {
            Some(before)
        } else {
            previous.replace(before)
        };
        drop(previous);
        drop(gone);
    }

    /// Lets another generation serve some requests beside the current one.
    pub(super) fn begin_canary(&self, next: Arc<DeployedComponent>, split: TrafficSplit) {
        self.serve(self.current(), Some(Canary { deployed: next, divider: SplitDivider::new(split) }));
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
    fn serve(&self, current: Arc<DeployedComponent>, canary: Option<Canary>) {
        let now = Arc::new(ServingState { current, canary });
        // First the switch: a request that finds itself replaced, and is sent again, finds what serves now.
        let before = self.serving.swap(now.clone());
        let drain_timeout = self.spec().config.drain_timeout;
        for gone in before.all().filter(|gone| !now.all().any(|deployed| Arc::ptr_eq(deployed, gone))) {
            gone.generation.replace(drain_timeout);
            if before.canary.as_ref().is_some_and(|canary| Arc::ptr_eq(&canary.deployed, gone)) {
                let number = gone.generation.number;
                tracing::info!(app = &*self.name, "canary generation {number} is discarded");
            }
        }
    }

    /// Notes that a component is being tried, until what this gives is dropped.
    pub(super) fn try_out(&self, record: DeployRecord) -> CandidateComponent<'_> {
        *self.trying.lock() = Some((record, DeployState::Verifying));
        CandidateComponent(self)
    }

    /// Whether a component with this digest was taken back.
    pub(super) fn was_taken_back(&self, digest: &str) -> bool {
        self.taken_back.lock().contains(digest)
    }

    /// The file that was read last.
    pub(super) fn seen(&self) -> Option<FileStamp> {
        self.seen.lock().map(|(stamp, _)| stamp)
    }

    /// Notes that a file was read, and whether it could serve.
    pub(super) fn saw(&self, stamp: FileStamp, served: bool) {
        *self.seen.lock() = Some((stamp, served));
    }

    /// Notes a deploy. One that was refused made no generation.
    pub(super) fn note(&self, record: DeployRecord, made: Option<&Arc<DeployedComponent>>) {
        let kept = self.kept();
        let mut entries = self.entries.lock();
        // Those that serve, or may again, are not forgotten.
        let old =
            |entry: &DeployEntry| kept.iter().all(|kept| kept.generation.number != entry.record.generation);
        if entries.len() >= REMEMBERED
            && let Some(oldest) = entries.iter().position(old)
        {
            entries.remove(oldest);
        }
        let generation = made.map(|made| made.generation.clone());
        let app = made.map_or_else(Weak::new, |made| Arc::downgrade(&made.app));
        entries.push_back(DeployEntry { record, generation, app });
    }

    /// Notes one more step of a generation, or why it was taken back.
    pub(super) fn amend(
        &self,
        generation: u64,
        change: impl FnOnce(&mut DeployRecord),
    ) -> Option<DeployRecord> {
        let mut entries = self.entries.lock();
        let entry = entries.iter_mut().find(|entry| entry.record.generation == generation)?;
        change(&mut entry.record);
        Some(entry.record.clone())
    }

    /// Notes why a generation was taken back. It does not serve again by a rollback, nor without being asked for.
    pub(super) fn roll_back(&self, taken_back: &DeployedComponent, why: &str) -> Option<DeployRecord> {
        let generation = taken_back.generation.number;
        let gone = self.previous.lock().take_if(|previous| previous.generation.number == generation);
        drop(gone);
        self.set_aside(taken_back);
        self.metrics.record_deploy(linger_telemetry::Deploy::TakenBack);
        self.amend(generation, |record| record.error = Some(why.to_owned()))
    }

    /// Notes that somebody does not want a component to serve.
    pub(super) fn set_aside(&self, deployed: &DeployedComponent) {
        self.taken_back.lock().insert(deployed.component.digest.clone());
    }

    /// What serves, and what is kept to serve again.
    fn kept(&self) -> Vec<Arc<DeployedComponent>> {
        self.serving.load().all().cloned().chain(self.previous()).collect()
    }

    /// What has been tried, the latest first, and what became of each.
    pub fn history(&self) -> Vec<DeployView> {
        let (serving, previous, kept) = (self.serving.load_full(), self.previous(), self.kept());
        let is = |deployed: Option<&Arc<DeployedComponent>>, number| {
            deployed.is_some_and(|deployed| deployed.generation.number == number)
        };
        let is_kept =
            |entry: &DeployEntry| kept.iter().any(|kept| entry.app.as_ptr() == Arc::as_ptr(&kept.app));
        let canary = serving.canary.as_ref().map(|canary| &canary.deployed);
        let state = |entry: &DeployEntry| match entry.record.generation {
            _ if entry.record.error.is_some() => DeployState::Refused,
            number if is(Some(&serving.current), number) => DeployState::Current,
            number if is(canary, number) => DeployState::Canary,
            number if is(previous.as_ref(), number) => DeployState::Previous,
            _ if entry.is_running() => DeployState::Draining,
            _ if entry.app.strong_count() > 0 && !is_kept(entry) => DeployState::Draining,
            _ => DeployState::Gone,
        };
        let trying = self.trying.lock().clone();
        let trying = trying.map(|(record, state)| (DeployEntry::tried(record), state));
        let entries = self.entries.lock();
        let ended = entries.iter().rev().map(|entry| (entry.clone(), state(entry)));
        trying.into_iter().chain(ended).map(DeployView::from).collect()
    }
}

/// A component that is being tried.
pub(super) struct CandidateComponent<'a>(&'a AppSlot);

impl CandidateComponent<'_> {
    /// It has come so far.
    pub(super) fn goes_on(&self, record: &DeployRecord, state: DeployState) {
        *self.0.trying.lock() = Some((record.clone(), state));
    }
}

impl Drop for CandidateComponent<'_> {
    fn drop(&mut self) {
        *self.0.trying.lock() = None;
    }
}
