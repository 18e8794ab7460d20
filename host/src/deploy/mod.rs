//! Deploys: how a new component takes the place of an app's old one, without a failed request.
//!
//! A deploy loads the component, starts an instance, sends it the probe request of its app if there is one, and only then
//! switches. Whatever fails before leaves the old generation serving. After the switch the requests of the old generation are
//! told `replaced`; when the last one has ended, its instances end.

mod compile;
mod files;
mod probe;
mod record;
mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::config;
use crate::events::EventStore;
use crate::generation::Generation;
use crate::guest::{App, CallError, Engine, Kinds, LoadError, Source};
pub use record::{Done, Record, State, Step};
pub use slot::{Deployed, Slot};

/// How long an instance may take to start.
const START: Duration = Duration::from_secs(30);

/// Why there is no new generation. The old one serves on.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// There is no such app.
    #[error("there is no app `{name}`; there is {known}")]
    NoSuchApp {
        /// The name that was given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// Another deploy of the app is under way.
    #[error("another deploy of this app is under way; try again when it has ended")]
    Busy,
    /// The component serves already.
    #[error("generation {0} is this component already")]
    Unchanged(u64),
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No instance of it starts.
    #[error("no instance starts: {0}")]
    Start(String),
    /// It does not answer the probe request as it should.
    #[error("the probe failed: {0}")]
    Probe(String),
    /// The compiler panicked, which is a mistake in Linger or in wasmtime.
    #[error("compiling it failed, which is a mistake in Linger; the log says more")]
    Panicked,
    /// No generation was there before.
    #[error("there is no generation before this one to go back to")]
    NothingBefore,
}

/// What components are loaded with.
pub struct Loader {
    /// Compiles them.
    pub engine: Arc<Engine>,
    /// What their guests push to and take from.
    pub events: Arc<dyn EventStore>,
    /// How many threads call them.
    pub lanes: usize,
}

/// All apps, and the way to change them.
pub struct Deployments {
    loader: Arc<Loader>,
    apps: BTreeMap<Arc<str>, Arc<Slot>>,
    /// Sent when a generation was replaced.
    replaced: watch::Sender<()>,
    /// Notified when too many requests of a new generation have failed.
    doubt: Arc<Notify>,
    /// Owns the guests of probes.
    tasks: TaskTracker,
}

impl Deployments {
    /// Loads the first generation of each app from its file. Blocks while they compile: up to seconds for each.
    pub fn load<'a>(
        loader: Loader,
        apps: impl IntoIterator<Item = (&'a str, &'a config::App, Kinds)>,
    ) -> Result<Self, LoadError> {
        let slots = apps.into_iter().map(|(name, config, kinds)| {
            let slot = loader.first(name, config, kinds)?;
            Ok((slot.name.clone(), Arc::new(slot)))
        });
        let apps = slots.collect::<Result<_, LoadError>>()?;
        let (loader, replaced, doubt) = (Arc::new(loader), watch::Sender::default(), Arc::default());
        Ok(Self { loader, apps, replaced, doubt, tasks: TaskTracker::new() })
    }

    /// The place of an app.
    pub fn slot(&self, name: &str) -> Result<&Arc<Slot>, DeployError> {
        self.apps.get(name).ok_or_else(|| DeployError::NoSuchApp {
            name: name.to_owned(),
            known: self.apps.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        })
    }

    /// All of them, by name.
    pub fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.apps.values()
    }

    /// Tells, each time, that a generation was replaced.
    pub fn replaced(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// Deploys a component for an app. Takes as long as that needs to compile, to start and to answer the probe.
    pub async fn deploy(&self, name: &str, source: Source) -> Result<Record, DeployError> {
        let slot = self.slot(name)?;
        let whole = source.clone();
        let digest = compile::aside(move || digest(&whole)).await.ok_or(DeployError::Panicked)?;
        self.deploy_to(slot, source, digest).await
    }

    async fn deploy_to(
        &self,
        slot: &Arc<Slot>,
        source: Source,
        digest: Arc<str>,
    ) -> Result<Record, DeployError> {
        let _only = slot.deploying.try_lock().map_err(|_| DeployError::Busy)?;
        let from = source.name.display().to_string();
        let current = slot.current();
        if current.digest == digest {
            return Err(DeployError::Unchanged(current.generation.number));
        }
        let mut record = Record::new(slot.next_number(), &digest, from);
        match self.try_out(slot, source, &mut record).await {
            Ok(app) => {
                let generation = self.on_trial(slot, record.generation);
                let next = Deployed { generation, app, digest, source: record.source.clone() };
                Ok(self.switch(slot, next, record, false))
            }
            Err(error) => {
                tracing::warn!(app = &*slot.name, "generation {} is refused: {error}", record.generation);
                record.error = Some(error.to_string());
                slot.refuse(record);
                Err(error)
            }
        }
    }

    /// Lets the generation before the current one serve again, under a new number. It is there still, so this takes no time.
    pub fn roll_back(&self, name: &str) -> Result<Record, DeployError> {
        let slot = self.slot(name)?;
        let _only = slot.deploying.try_lock().map_err(|_| DeployError::Busy)?;
        let before = slot.previous().ok_or(DeployError::NothingBefore)?;
        let record = Record::new(slot.next_number(), &before.digest, before.source.clone());
        let next = Deployed {
            // It has proven itself.
            generation: Generation::new(slot.name.clone(), record.generation, slot.config.drain_timeout),
            app: before.app.clone(),
            digest: before.digest.clone(),
            source: before.source.clone(),
        };
        Ok(self.switch(slot, next, record, true))
    }

    /// Deploys what is written to the files of apps that want that, for as long as it is polled.
    pub async fn watch(&self) {
        files::watch(self).await;
    }

    /// Takes generations back of which too many requests fail, for as long as it is polled.
    pub async fn judge(&self) {
        loop {
            self.doubt.notified().await;
            for slot in self.slots() {
                let generation = slot.current().generation.clone();
                let Some(doubt) = generation.doubt() else { continue };
                match self.roll_back(&slot.name) {
                    Ok(record) => {
                        slot.doubt(generation.number, &doubt.to_string());
                        let number = generation.number;
                        tracing::error!(
                            app = &*slot.name,
                            "generation {number} is taken back: {doubt}; {} serves in its place",
                            record.generation
                        );
                    }
                    // Another deploy is under way, and will replace it.
                    Err(error) => tracing::warn!(app = &*slot.name, "{doubt}, and it stays: {error}"),
                }
            }
        }
    }

    /// Waits for the guests of the last probes, and gives what guests need to the end.
    pub async fn end(&self) -> Arc<Loader> {
        self.tasks.close();
        self.tasks.wait().await;
        self.loader.clone()
    }

    async fn try_out(
        &self,
        slot: &Arc<Slot>,
        source: Source,
        record: &mut Record,
    ) -> Result<Arc<App>, DeployError> {
        let trying = slot.try_out(record.clone());
        let (begun, loader) = (Instant::now(), self.loader.clone());
        // Not the slot: that would keep its apps for as long as this compiles.
        let (name, config, kinds) = (slot.name.clone(), slot.config.clone(), slot.kinds);
        let load = move || loader.load(&name, &source, &config, kinds);
        let app = compile::aside(load).await.ok_or(DeployError::Panicked)??;
        record.done(Step::Load, begun.elapsed());
        trying.goes_on(record, State::Probing);
        let begun = Instant::now();
        let started = timeout(START, app.try_start()).await;
        started.map_err(|_| DeployError::Start(format!("it takes longer than {START:?}")))?.map_err(
            |error| match error {
                CallError::NotStarted(why) => DeployError::Start(why),
                other => DeployError::Start(other.to_string()),
            },
        )?;
        record.done(Step::Start, begun.elapsed());
        if let Some(wanted) = &slot.config.probe {
            let begun = Instant::now();
            let asked = Generation::new(slot.name.clone(), record.generation, slot.config.drain_timeout);
            let probed = probe::probe(&app, asked, wanted, self.tasks.clone());
            probed.await.map_err(DeployError::Probe)?;
            record.done(Step::Probe, begun.elapsed());
        }
        Ok(Arc::new(app))
    }

    fn on_trial(&self, slot: &Slot, number: u64) -> Arc<Generation> {
        let config::App { drain_timeout, rollback, .. } = &slot.config;
        Generation::on_trial(slot.name.clone(), number, *drain_timeout, rollback, self.doubt.clone())
    }

    fn switch(&self, slot: &Slot, next: Deployed, mut record: Record, rollback: bool) -> Record {
        let begun = Instant::now();
        let app = Arc::downgrade(&next.app);
        slot.switch(next, rollback);
        record.done(Step::Switch, begun.elapsed());
        slot.note(record.clone(), app);
        // Nobody is there to be told when there is no connection.
        let _ = self.replaced.send(());
        tracing::info!(app = &*slot.name, "generation {} serves, from {}", record.generation, record.source);
        record
    }
}

impl Loader {
    fn load(
        &self,
        name: &str,
        source: &Source,
        config: &config::App,
        kinds: Kinds,
    ) -> Result<App, LoadError> {
        App::load(name, source, kinds, config, &self.engine, self.events.clone(), self.lanes)
    }

    fn first(&self, name: &str, config: &config::App, kinds: Kinds) -> Result<Slot, LoadError> {
        let begun = Instant::now();
        let source = Source::read(&config.component)?;
        let app = Arc::new(self.load(name, &source, config, kinds)?);
        let (digest, from) = (digest(&source), source.name.display().to_string());
        let mut record = Record::new(1, &digest, from.clone());
        record.done(Step::Load, begun.elapsed());
        let generation = Generation::new(name.into(), 1, config.drain_timeout);
        let first = Deployed { generation, app, digest, source: from };
        Ok(Slot::new(config.clone(), kinds, first, record))
    }
}

fn digest(source: &Source) -> Arc<str> {
    format!("{:x}", Sha256::digest(&source.bytes)).into()
}
