//! Zero-downtime deploys (hot swap): a new generation replaces the current one, and no request fails.
//!
//! A deploy loads the component, starts an instance, sends it the app's probe request if there is one, and only then switches. If
//! any of it fails, the old generation goes on. After the switch the requests of the old generation are cancelled (`replaced`); when
//! the last one has ended, its instances end. A canary is a generation that serves only some of the requests, beside the current one.
//!
//! - `slot` is an app's place for generations, `split` divides its requests, `record` is its history
//! - `component`, `compile` and `spec` make a generation, `probe` tries it, `probation` watches it, `plan` does so for a reload
//! - `files` watches the files of components
//!
//! It names notify, rayon and rustix (a lower priority for compiling). Components are run by `linger-wasm`. It may not name Wasmtime,
//! an HTTP server, sockets of clients, NATS or the disk store.
#![forbid(unsafe_code)]

mod compile;
mod component;
mod files;
mod plan;
mod probation;
mod probe;
mod record;
mod slot;
mod spec;
mod split;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use linger_base::FileStamp;
use linger_events::EventStore;
use linger_exchange::Generation;
use linger_telemetry::{AppMetrics, Metrics};
use linger_wasm::{App, CallError, ComponentSource, Engine, LoadError, behind};

use component::UploadedComponent;
use slot::CandidateComponent;

pub use plan::{AppChange, PlanError, ReloadPlan};
pub use record::{DeployRecord, DeployState, DeployStep, DeployView, FinishedStep};
pub use slot::{AppSlot, DeployedComponent};
pub use spec::AppSpec;
pub use split::TrafficSplit;

/// How long an instance may take to start.
const START: Duration = Duration::from_secs(30);

/// The reason why a deploy failed. The current generation continues to serve.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The app does not exist.
    #[error("unknown app `{name}`; the apps are {known}")]
    NoSuchApp {
        /// The name that was given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// Another deploy of the app is running.
    #[error("another deploy of this app is running; try again when it has finished")]
    Busy,
    /// The current generation already has this component.
    #[error("generation {0} already has this component")]
    Unchanged(u64),
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its instances do not start.
    #[error("cannot start an instance: {0}")]
    Start(String),
    /// Its probe fails.
    #[error("the probe failed: {0}")]
    Probe(String),
    /// The compiler panicked, which is a bug in Linger or Wasmtime.
    #[error("compiling panicked; this is a bug in Linger, and the log has details")]
    Panicked,
    /// The app has no previous generation.
    #[error("the app has no previous generation to roll back to")]
    NothingBefore,
    /// The app has no canary.
    #[error("the app has no canary; start one with `linger deploy --canary`")]
    NoCanary,
}

/// What components are loaded with.
pub struct ComponentLoader {
    /// Compiles them.
    pub engine: Arc<Engine>,
    /// The store of their queues and topics.
    pub events: Arc<dyn EventStore>,
    /// How many threads call them.
    pub shards: usize,
    /// What is counted of them.
    pub metrics: Metrics,
}

type AppSlots = BTreeMap<Arc<str>, Arc<AppSlot>>;

/// All apps, and the way to change them.
pub struct Deployments {
    loader: Arc<ComponentLoader>,
    apps: ArcSwap<AppSlots>,
    /// Sent when the apps, or their configurations, are others.
    changed: watch::Sender<()>,
    /// Sent when a generation was replaced.
    replaced: watch::Sender<()>,
    /// Notified when there is a doubt of a generation on probation.
    doubt: Arc<Notify>,
    /// Owns the guests of probes.
    tasks: TaskTracker,
}

impl Deployments {
    /// Loads the first generation of each app from its file. Blocks while they compile: up to seconds for each.
    pub fn load(loader: ComponentLoader, specs: BTreeMap<String, AppSpec>) -> Result<Self, LoadError> {
        let slots = specs.into_iter().map(|(name, spec)| {
            let slot = loader.first(&name, spec)?;
            Ok((slot.name.clone(), Arc::new(slot)))
        });
        let apps = slots.collect::<Result<AppSlots, LoadError>>()?;
        Ok(Self {
            loader: Arc::new(loader),
            apps: ArcSwap::from_pointee(apps),
            changed: watch::Sender::default(),
            replaced: watch::Sender::default(),
            doubt: Arc::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// The place of an app.
    pub fn slot(&self, name: &str) -> Result<Arc<AppSlot>, DeployError> {
        self.apps.load().get(name).cloned().ok_or_else(|| self.no_such_app(name))
    }

    fn no_such_app(&self, name: &str) -> DeployError {
        let known = self.apps.load().keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        DeployError::NoSuchApp { name: name.to_owned(), known }
    }

    /// All of them, by name.
    pub fn slots(&self) -> Vec<Arc<AppSlot>> {
        self.apps.load().values().cloned().collect()
    }

    /// Tells, each time, that a generation was replaced.
    pub fn subscribe_replaced(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// Deploys a component for an app: for all requests or, as a canary, for some. Takes as long as that needs to compile, to
    /// start and to answer the probe.
    pub async fn deploy(
        &self,
        name: &str,
        source: ComponentSource,
        canary: Option<TrafficSplit>,
    ) -> Result<DeployRecord, DeployError> {
        let slot = self.slot(name)?;
        let spec = slot.spec();
        let read = move || Ok(UploadedComponent::new(source, files::read_middleware(&spec.config)?, false));
        let component: Result<_, LoadError> = compile::aside(read).await.ok_or(DeployError::Panicked)?;
        self.deploy_to(&slot, component?, canary).await
    }

    async fn deploy_to(
        &self,
        slot: &Arc<AppSlot>,
        component: UploadedComponent,
        canary: Option<TrafficSplit>,
    ) -> Result<DeployRecord, DeployError> {
        let _only = slot.try_one()?;
        if slot.is_closed() {
            return Err(self.no_such_app(&slot.name));
        }
        if let Some(serving) = self.serves_already(slot, &component, canary.as_ref()) {
            return serving;
        }
        let mut record = DeployRecord::new(slot.next_number(), &component);
        record.canary = canary;
        let (trying, spec) = (slot.try_out(record.clone()), slot.spec());
        let tried = self.try_out(&slot.metrics, &spec, &component, &mut record, Some(&trying)).await;
        drop(trying);
        match tried {
            Ok(app) => {
                let generation = self.on_probation(slot, &spec, record.generation);
                Ok(self.install(slot, DeployedComponent { generation, app, component, spec }, record, false))
            }
            Err(error) => {
                tracing::warn!(app = &*slot.name, "generation {} is refused: {error}", record.generation);
                record.error = Some(error.to_string());
                slot.metrics.record_deploy(linger_telemetry::Deploy::Refused);
                slot.note(record, None);
                Err(error)
            }
        }
    }

    /// What there is to do for a component that serves already, if it does.
    fn serves_already(
        &self,
        slot: &AppSlot,
        component: &UploadedComponent,
        canary: Option<&TrafficSplit>,
    ) -> Option<Result<DeployRecord, DeployError>> {
        let (current, serving) = (slot.current(), slot.canary());
        let is_same = |deployed: &Arc<DeployedComponent>| deployed.component.digest == component.digest;
        if is_same(&current) {
            if let (Some(serving), None) = (&serving, canary) {
                // It is to serve all requests.
                self.abort_in(slot, serving, "discarded: the current component was deployed again");
            }
            return Some(Err(DeployError::Unchanged(current.generation.number)));
        }
        let serving = serving.filter(is_same)?;
        Some(self.divide(slot, &serving, canary.cloned()).ok_or(DeployError::NoCanary))
    }

    /// What a canary is told when it is deployed again: to serve another share, or all.
    fn divide(
        &self,
        slot: &AppSlot,
        serving: &Arc<DeployedComponent>,
        canary: Option<TrafficSplit>,
    ) -> Option<DeployRecord> {
        let Some(split) = canary else { return self.promote_in(slot, serving) };
        tracing::info!(app = &*slot.name, "generation {} serves {split}", serving.generation.number);
        slot.begin_canary(serving.clone(), split.clone());
        slot.amend(serving.generation.number, |record| record.canary = Some(split))
    }

    /// Lets the canary serve all requests.
    pub fn promote(&self, name: &str) -> Result<DeployRecord, DeployError> {
        let slot = self.slot(name)?;
        let canary = slot.canary().ok_or(DeployError::NoCanary)?;
        self.promote_in(&slot, &canary).ok_or(DeployError::NoCanary)
    }

    fn promote_in(&self, slot: &AppSlot, canary: &Arc<DeployedComponent>) -> Option<DeployRecord> {
        let begun = Instant::now();
        slot.switch(canary.clone(), false);
        self.notify_replaced();
        tracing::info!(app = &*slot.name, "generation {} serves all requests", canary.generation.number);
        slot.amend(canary.generation.number, |record| {
            record.canary = None;
            record.done(DeployStep::Promote, begun.elapsed());
        })
    }

    /// Ends the canary: what serves the other requests serves all.
    pub fn abort(&self, name: &str) -> Result<DeployRecord, DeployError> {
        let slot = self.slot(name)?;
        let canary = slot.canary().ok_or(DeployError::NoCanary)?;
        self.abort_in(&slot, &canary, "discarded: aborted").ok_or(DeployError::NoCanary)
    }

    fn abort_in(&self, slot: &AppSlot, canary: &DeployedComponent, why: &str) -> Option<DeployRecord> {
        slot.end_canary();
        self.notify_replaced();
        slot.roll_back(canary, why)
    }

    /// Lets the generation before the current one serve again, under a new number. It is there still, so this takes no time. A
    /// canary ends with it.
    pub fn roll_back(&self, name: &str) -> Result<DeployRecord, DeployError> {
        let slot = self.slot(name)?;
        let unwanted = slot.current();
        let record = self.roll_back_in(&slot)?;
        slot.set_aside(&unwanted);
        slot.metrics.record_deploy(linger_telemetry::Deploy::RolledBack);
        Ok(record)
    }

    fn roll_back_in(&self, slot: &AppSlot) -> Result<DeployRecord, DeployError> {
        let before = slot.previous().ok_or(DeployError::NothingBefore)?;
        let record = DeployRecord::new(slot.next_number(), &before.component);
        if !before.spec.has_same_guests(&slot.spec()) {
            tracing::warn!(
                app = &*slot.name,
                "the previous version runs with the configuration that it was loaded with; reload to apply the current one"
            );
        }
        let next = DeployedComponent {
            // It has proven itself.
            generation: Generation::new(slot.metrics.clone(), record.generation),
            app: before.app.clone(),
            component: before.component.clone(),
            spec: before.spec.clone(),
        };
        Ok(self.install(slot, next, record, true))
    }

    /// Deploys what is written to the files of apps that want that, for as long as it is polled.
    pub async fn watch(&self) {
        files::watch(self).await;
    }

    /// Probes generations on probation, and rolls back or discards those that fail, for as long as it is polled.
    pub async fn judge(&self) {
        tokio::join!(probation::judge(self), probation::keep_probing(self));
    }

    /// Does something with the apps that there are, and begins anew when those change, for as long as it is polled.
    async fn with_all(&self, work: impl AsyncFn(Vec<Arc<AppSlot>>)) {
        let mut changed = self.changed.subscribe();
        loop {
            tokio::select! {
                () = work(self.slots()) => drop(changed.changed().await),
                _ = changed.changed() => {}
            }
        }
    }

    /// The units in use of the pooling allocator, by kind. None without one.
    pub fn pool(&self) -> Option<[(&'static str, u64); 5]> {
        self.loader.engine.pool()
    }

    /// Waits for the guests of the last probes, and gives what guests need to the end.
    pub async fn end(&self) -> Arc<ComponentLoader> {
        self.tasks.close();
        self.tasks.wait().await;
        self.loader.clone()
    }

    /// Loads a component, starts an instance, and asks it what its app wants to be asked.
    async fn try_out(
        &self,
        metrics: &Arc<AppMetrics>,
        spec: &Arc<AppSpec>,
        component: &UploadedComponent,
        record: &mut DeployRecord,
        trying: Option<&CandidateComponent<'_>>,
    ) -> Result<Arc<App>, DeployError> {
        let (begun, loader) = (Instant::now(), self.loader.clone());
        // Not the slot: that would keep its apps for as long as this compiles.
        let (counted, wanted, component) = (metrics.clone(), spec.clone(), component.clone());
        let load = move || loader.load(&counted, &component, &wanted);
        let app = compile::aside(load).await.ok_or(DeployError::Panicked)??;
        record.done(DeployStep::Load, begun.elapsed());
        if let Some(trying) = trying {
            trying.goes_on(record, DeployState::Probing);
        }
        let begun = Instant::now();
        let started = timeout(START, app.try_start()).await;
        started.map_err(|_| DeployError::Start(format!("it took longer than {START:?}")))?.map_err(
            |error| match error {
                CallError::NotStarted(why) if why.contains("memory") => {
                    DeployError::Start(format!("{why}; the limit is `instances.max_memory`"))
                }
                CallError::NotStarted(why) => DeployError::Start(why),
                other => DeployError::Start(other.to_string()),
            },
        )?;
        record.done(DeployStep::Start, begun.elapsed());
        if let Some(wanted) = &spec.config.probe {
            let begun = Instant::now();
            let asked = Generation::new(metrics.clone(), record.generation);
            let probed = probe::probe(&app, asked, wanted, self.tasks.clone());
            probed.await.map_err(|failure| DeployError::Probe(failure.to_string()))?;
            record.done(DeployStep::Probe, begun.elapsed());
        }
        Ok(Arc::new(app))
    }

    fn on_probation(&self, slot: &AppSlot, spec: &AppSpec, number: u64) -> Arc<Generation> {
        Generation::on_probation(slot.metrics.clone(), number, &spec.config.rollback, self.doubt.clone())
    }

    /// Lets a generation serve: all requests, or those that its record says.
    fn install(
        &self,
        slot: &AppSlot,
        next: DeployedComponent,
        mut record: DeployRecord,
        rollback: bool,
    ) -> DeployRecord {
        let (begun, next) = (Instant::now(), Arc::new(next));
        match &record.canary {
            Some(split) => slot.begin_canary(next.clone(), split.clone()),
            None => slot.switch(next.clone(), rollback),
        }
        record.done(DeployStep::Switch, begun.elapsed());
        if !rollback {
            slot.metrics.record_deploy(linger_telemetry::Deploy::Served);
        }
        slot.note(record.clone(), Some(&next));
        self.notify_replaced();
        let share = record.canary.as_ref().map(|split| format!(" {split}")).unwrap_or_default();
        tracing::info!(
            app = &*slot.name,
            "generation {} serves{share}, from {}",
            record.generation,
            record.source
        );
        record
    }

    fn notify_replaced(&self) {
        // Nobody is there to be told when there is no connection.
        let _ = self.replaced.send(());
    }
}

impl ComponentLoader {
    fn load(
        &self,
        metrics: &Arc<AppMetrics>,
        component: &UploadedComponent,
        spec: &AppSpec,
    ) -> Result<App, LoadError> {
        let source = behind(&component.middleware, &component.source)?;
        App::load(metrics, &source, spec.kinds, &spec.config, &self.engine, self.events.clone(), self.shards)
    }

    fn first(&self, name: &str, spec: AppSpec) -> Result<AppSlot, LoadError> {
        let (begun, spec) = (Instant::now(), Arc::new(spec));
        let seen = FileStamp::of(&spec.config.component);
        let component = files::read_now(&spec.config)?;
        let metrics = self.metrics.of_app(name);
        let app = Arc::new(self.load(&metrics, &component, &spec)?);
        let mut record = DeployRecord::new(1, &component);
        record.done(DeployStep::Load, begun.elapsed());
        let generation = Generation::new(metrics, 1);
        Ok(AppSlot::new(DeployedComponent { generation, app, component, spec }, record, seen))
    }
}
