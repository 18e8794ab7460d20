//! A new configuration of the apps: prepared as a whole, and then applied at once, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use linger_base::FileStamp;
use linger_exchange::Generation;

use super::slot::DeployLock;
use super::{AppSlot, AppSlots, AppSpec, DeployError, DeployRecord, DeployedComponent, Deployments, files};

/// The reason why a configuration is not applied.
#[derive(Debug, thiserror::Error)]
#[error("apps.{app}: {error}")]
pub struct PlanError {
    app: String,
    error: DeployError,
}

/// What is ready to be put in force. Until then, or until it is dropped, no other deploy of these apps begins.
pub struct ReloadPlan {
    apps: AppSlots,
    steps: Vec<PreparedApp>,
    /// What served in each app that is there when it was prepared.
    after: Vec<(Arc<AppSlot>, Arc<DeployedComponent>)>,
    removed: Vec<(Arc<AppSlot>, DeployLock)>,
}

struct PreparedApp {
    slot: Arc<AppSlot>,
    spec: Arc<AppSpec>,
    /// Where its instances would be made otherwise.
    next: Option<NextGeneration>,
    _only: Option<DeployLock>,
    change: AppChange,
}

/// A generation that is to serve.
struct NextGeneration {
    deployed: DeployedComponent,
    record: DeployRecord,
    seen: Option<FileStamp>,
}

/// The change of an app by a new configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AppChange {
    /// It is new.
    Added,
    /// The app is removed.
    Removed,
    /// Settings of its requests and deploys have changed.
    Settings,
    /// Its component or the settings of its instances have changed: this is the new generation.
    Generation(u64),
}

impl ReloadPlan {
    /// The place that an app will have.
    #[must_use]
    pub fn slot(&self, name: &str) -> Option<&Arc<AppSlot>> {
        self.apps.get(name)
    }

    /// Whether the serving generations have changed since it was prepared, as by a rollback.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.after.iter().any(|(slot, after)| !Arc::ptr_eq(after, &slot.current()))
    }
}

impl Deployments {
    /// Prepares what these apps need: new ones are loaded and tried, and so are those whose instances would be made otherwise.
    /// Waits for deploys of them that are under way. Changes nothing.
    pub async fn plan(&self, specs: BTreeMap<String, AppSpec>) -> Result<ReloadPlan, PlanError> {
        let here = self.apps.load_full();
        let mut plan =
            ReloadPlan { apps: AppSlots::new(), steps: Vec::new(), after: Vec::new(), removed: Vec::new() };
        for (_, slot) in here.iter().filter(|(name, _)| !specs.contains_key(&***name)) {
            plan.removed.push((slot.clone(), slot.wait_for_one().await));
        }
        for (name, spec) in specs {
            let spec = Arc::new(spec);
            let prepared = match here.get(&*name) {
                Some(slot) => {
                    plan.apps.insert(slot.name.clone(), slot.clone());
                    self.prepare(slot.clone(), spec, &mut plan.after).await
                }
                None => self.prepare_first(&name, spec).await.map(Some),
            };
            if let Some(prepared) = prepared.map_err(|error| PlanError { app: name, error })? {
                plan.apps.insert(prepared.slot.name.clone(), prepared.slot.clone());
                plan.steps.push(prepared);
            }
        }
        Ok(plan)
    }

    /// None if all is as it should be.
    async fn prepare(
        &self,
        slot: Arc<AppSlot>,
        spec: Arc<AppSpec>,
        served: &mut Vec<(Arc<AppSlot>, Arc<DeployedComponent>)>,
    ) -> Result<Option<PreparedApp>, DeployError> {
        let only = slot.wait_for_one().await;
        let (before, after) = (slot.spec(), slot.current());
        served.push((slot.clone(), after.clone()));
        let seen = FileStamp::look(&spec.config.component).await;
        // What was sent stays until there is another file.
        let is_as_before = !after.component.from_file || seen == slot.seen();
        let component = if spec.config.component == before.config.component && is_as_before {
            files::read_anew(&after.component, &spec.config).await?
        } else {
            files::read(&spec.config).await?
        };
        // One that was taken back serves only when somebody deploys it.
        let component =
            if slot.was_taken_back(&component.digest) { after.component.clone() } else { component };
        let is_same = spec.has_same_guests(&after.spec) && component.digest == after.component.digest;
        if is_same {
            let change = AppChange::Settings;
            return Ok((spec != before).then_some(PreparedApp {
                slot,
                spec,
                next: None,
                _only: Some(only),
                change,
            }));
        }
        let mut record = DeployRecord::new(slot.next_number(), &component);
        let app = self.try_out(&slot.metrics, &spec, &component, &mut record, None).await?;
        let generation = self.on_probation(&slot, &spec, record.generation);
        let change = AppChange::Generation(record.generation);
        let deployed = DeployedComponent { generation, app, component, spec: spec.clone() };
        let next = Some(NextGeneration { deployed, record, seen });
        Ok(Some(PreparedApp { slot, spec, next, _only: Some(only), change }))
    }

    async fn prepare_first(&self, name: &str, spec: Arc<AppSpec>) -> Result<PreparedApp, DeployError> {
        let seen = FileStamp::look(&spec.config.component).await;
        let component = files::read(&spec.config).await?;
        let metrics = self.loader.metrics.of_app(name);
        let mut record = DeployRecord::new(1, &component);
        let app = self.try_out(&metrics, &spec, &component, &mut record, None).await?;
        let generation = Generation::new(metrics, 1);
        let first = DeployedComponent { generation, app, component, spec: spec.clone() };
        let slot = Arc::new(AppSlot::new(first, record, seen));
        Ok(PreparedApp { slot, spec, next: None, _only: None, change: AppChange::Added })
    }

    /// Puts a plan in force. `between` comes when the apps are those of the plan, and before those are told that are no more:
    /// there requests have to be sent elsewhere.
    pub fn carry_out(&self, plan: ReloadPlan, between: impl FnOnce()) -> BTreeMap<String, AppChange> {
        let ReloadPlan { apps, steps, removed, .. } = plan;
        let mut changes = BTreeMap::new();
        for PreparedApp { slot, spec, next, _only, change } in steps {
            if change != AppChange::Added {
                slot.configure(&spec);
            }
            if let Some(NextGeneration { deployed, record, seen }) = next {
                self.install(&slot, deployed, record, false);
                seen.inspect(|&seen| slot.saw(seen, true));
            }
            changes.insert(slot.name.to_string(), change);
        }
        self.apps.store(Arc::new(apps));
        between();
        for (slot, _only) in removed {
            slot.close();
            changes.insert(slot.name.to_string(), AppChange::Removed);
        }
        self.notify_replaced();
        // Nobody may be there to watch.
        let _ = self.changed.send(());
        changes
    }
}
