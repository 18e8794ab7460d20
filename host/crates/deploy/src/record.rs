//! The record of a deploy.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use linger_exchange::{Generation, RequestCounts};
use linger_wasm::App;

use super::TrafficSplit;
use super::component::UploadedComponent;

/// A deploy: its component, and the steps that succeeded.
#[derive(Clone, Debug, Serialize)]
pub struct DeployRecord {
    /// The number of the generation that it made, or would have made.
    pub generation: u64,
    /// The SHA-256 of the component, in hexadecimal digits.
    pub digest: String,
    /// The source of the component.
    pub source: String,
    /// The time of the deploy, in milliseconds since 1970.
    pub at: u64,
    /// The steps that succeeded, in their order.
    pub steps: Vec<FinishedStep>,
    /// Which requests it serves, while they are not all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<TrafficSplit>,
    /// Why it went no further, or was taken back. The generation before it serves on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A step that succeeded.
#[derive(Clone, Debug, Serialize)]
pub struct FinishedStep {
    /// Which.
    pub step: DeployStep,
    /// How long it took, in milliseconds.
    pub took: f64,
}

/// The steps of a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployStep {
    /// It is a component, has a handler, all that it imports is there, and it compiles.
    Load,
    /// An instance starts.
    Start,
    /// Its probe succeeds.
    Probe,
    /// It gets requests: all, or a share.
    Switch,
    /// It gets all requests, after a share.
    Promote,
}

/// The state of a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployState {
    /// It is being loaded.
    Verifying,
    /// It is being started and probed.
    Probing,
    /// It serves.
    Current,
    /// It serves a part of the requests, beside the current one.
    Canary,
    /// It served before the current one, and is kept for a rollback.
    Previous,
    /// It still has in-flight requests.
    Draining,
    /// It has ended, and its memory is free.
    Gone,
    /// It never served, or was rolled back or discarded.
    Refused,
}

impl DeployRecord {
    #[expect(clippy::disallowed_methods, reason = "people read it")]
    pub(super) fn new(generation: u64, component: &UploadedComponent) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let (digest, source) = (component.digest.to_string(), component.source.name.display().to_string());
        Self { generation, digest, source, at, steps: Vec::new(), canary: None, error: None }
    }

    pub(super) fn done(&mut self, step: DeployStep, took: Duration) {
        // Microseconds are enough.
        self.steps.push(FinishedStep { step, took: (took.as_secs_f64() * 1e6).round() / 1e3 });
    }
}

/// A deploy, and what is still known of the generation that it made.
#[derive(Clone)]
pub(super) struct DeployEntry {
    pub(super) record: DeployRecord,
    pub(super) generation: Option<Arc<Generation>>,
    pub(super) app: Weak<App>,
}

impl DeployEntry {
    /// One that has made none yet.
    pub(super) fn tried(record: DeployRecord) -> Self {
        Self { record, generation: None, app: Weak::new() }
    }

    pub(super) fn is_running(&self) -> bool {
        self.generation.as_ref().is_some_and(|generation| generation.requests().running > 0)
    }
}

/// A deploy, as operators see it.
#[derive(Clone, Debug, Serialize)]
pub struct DeployView {
    /// The deploy.
    #[serde(flatten)]
    pub record: DeployRecord,
    /// What has become of it.
    pub state: DeployState,
    /// What its generation has had to do. None if it made none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestCounts>,
}

impl From<(DeployEntry, DeployState)> for DeployView {
    fn from((DeployEntry { record, generation, .. }, state): (DeployEntry, DeployState)) -> Self {
        Self { record, state, requests: generation.map(|generation| generation.requests()) }
    }
}
