//! A new configuration for the apps: prepared as a whole, and then put in force at once, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::slot::Changing;
use super::{Apps, DeployError, Deployed, Deployments, Record, Slot, Spec, Stamp, digest};
use crate::generation::Generation;
use crate::guest::Source;

/// Why a configuration is not put in force.
#[derive(Debug, thiserror::Error)]
#[error("apps.{app}: {error}")]
pub struct PlanError {
    app: String,
    error: DeployError,
}

/// What is ready to be put in force. Until then, or until it is dropped, no other deploy of these apps begins.
pub struct Plan {
    apps: Apps,
    steps: Vec<Prepared>,
    removed: Vec<(Arc<Slot>, Changing)>,
}

struct Prepared {
    slot: Arc<Slot>,
    spec: Spec,
    /// Where its guests would be others.
    next: Option<(Deployed, Record)>,
    _only: Option<Changing>,
    change: Change,
}

/// What a new configuration changes about an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Added,
    /// It is no more.
    Removed,
    /// What the host does with its requests and deploys.
    Settings,
    /// What its guests see, or which component it is: this generation serves now.
    Generation(u64),
}

impl Plan {
    /// The place that an app will have.
    #[must_use]
    pub fn slot(&self, name: &str) -> Option<&Arc<Slot>> {
        self.apps.get(name)
    }
}

impl Deployments {
    /// Prepares what these apps need: new ones are loaded and tried, and so are those whose guests would be others.
    /// Changes nothing.
    pub async fn plan(&self, specs: BTreeMap<String, Spec>) -> Result<Plan, PlanError> {
        let here = self.apps.load_full();
        let mut plan = Plan { apps: Apps::new(), steps: Vec::new(), removed: Vec::new() };
        for (name, slot) in here.iter().filter(|(name, _)| !specs.contains_key(&***name)) {
            let only = slot.change().map_err(|error| PlanError { app: name.to_string(), error })?;
            plan.removed.push((slot.clone(), only));
        }
        for (name, spec) in specs {
            let prepared = match here.get(&*name) {
                Some(slot) if *slot.spec() == spec => {
                    plan.apps.insert(slot.name.clone(), slot.clone());
                    continue;
                }
                Some(slot) => self.prepare(slot, spec).await,
                None => self.prepare_first(&name, spec).await,
            };
            let prepared = prepared.map_err(|error| PlanError { app: name, error })?;
            plan.apps.insert(prepared.slot.name.clone(), prepared.slot.clone());
            plan.steps.push(prepared);
        }
        Ok(plan)
    }

    async fn prepare(&self, slot: &Arc<Slot>, spec: Spec) -> Result<Prepared, DeployError> {
        let only = Some(slot.change()?);
        let (before, slot) = (slot.spec(), slot.clone());
        if spec.has_same_guests(&before) {
            return Ok(Prepared { slot, spec, next: None, _only: only, change: Change::Settings });
        }
        let current = slot.current();
        let source = if spec.config.component == before.config.component {
            // What was deployed since stays.
            current.source.clone()
        } else {
            Source::read(&spec.config.component)?
        };
        let (digest, wanted) = (digest(&source), Arc::new(spec.clone()));
        let mut record = Record::new(slot.next_number(), &digest, source.name.display().to_string());
        let app = self.try_out(&slot.name, &wanted, &source, &mut record, None).await?;
        let generation = Generation::on_trial(
            slot.name.clone(),
            record.generation,
            &spec.config.rollback,
            self.doubt.clone(),
        );
        let change = Change::Generation(record.generation);
        let next = Some((Deployed { generation, app, digest, source }, record));
        Ok(Prepared { slot, spec, next, _only: only, change })
    }

    async fn prepare_first(&self, name: &str, spec: Spec) -> Result<Prepared, DeployError> {
        let seen = Stamp::of(&spec.config.component);
        let source = Source::read(&spec.config.component)?;
        let (name, digest, wanted): (Arc<str>, _, _) = (name.into(), digest(&source), Arc::new(spec.clone()));
        let mut record = Record::new(1, &digest, source.name.display().to_string());
        let app = self.try_out(&name, &wanted, &source, &mut record, None).await?;
        let first = Deployed { generation: Generation::new(name, 1), app, digest, source };
        let slot = Arc::new(Slot::new(spec.clone(), first, record, seen));
        Ok(Prepared { slot, spec, next: None, _only: None, change: Change::Added })
    }

    /// Puts a plan in force. `between` comes when the apps are those of the plan, and before those are told that are no more:
    /// there requests have to be sent elsewhere.
    pub fn carry_out(&self, plan: Plan, between: impl FnOnce()) -> BTreeMap<String, Change> {
        let Plan { apps, steps, removed } = plan;
        let mut changes = BTreeMap::new();
        for Prepared { slot, spec, next, _only, change } in steps {
            slot.configure(spec);
            if let Some((next, record)) = next {
                self.install(&slot, next, record, false);
            }
            changes.insert(slot.name.to_string(), change);
        }
        self.apps.store(Arc::new(apps));
        between();
        for (slot, _only) in removed {
            slot.close();
            changes.insert(slot.name.to_string(), Change::Removed);
        }
        self.tell_replaced();
        // Nobody may be there to watch.
        let _ = self.changed.send(());
        changes
    }
}
