//! Watches over generations that are on probation.

use std::sync::Arc;

use futures::future::join_all;

use linger_exchange::Generation;

use super::{AppSlot, DeployedComponent, Deployments, probe};

/// Takes generations back of which there is a doubt, for as long as it is polled.
pub(super) async fn judge(deployments: &Deployments) {
    loop {
        deployments.doubt.notified().await;
        for slot in deployments.slots() {
            let serving = [slot.canary(), Some(slot.current())];
            for deployed in serving.into_iter().flatten() {
                if let Some(doubt) = deployed.generation.rollback_cause() {
                    roll_back(deployments, &slot, &deployed, &doubt.to_string());
                }
            }
        }
    }
}

fn roll_back(deployments: &Deployments, slot: &AppSlot, doubted: &Arc<DeployedComponent>, doubt: &str) {
    let number = doubted.generation.number;
    let why = format!("withdrawn: {doubt}");
    if slot.canary().is_some_and(|canary| Arc::ptr_eq(&canary, doubted)) {
        deployments.abort_in(slot, doubted, &why);
        tracing::error!(app = &*slot.name, "canary generation {number} is discarded: {doubt}");
        return;
    }
    if !Arc::ptr_eq(&slot.current(), doubted) {
        return;
    }
    match deployments.roll_back_in(slot) {
        Ok(record) => {
            slot.roll_back(doubted, &why);
            let next = record.generation;
            tracing::error!(
                app = &*slot.name,
                "generation {number} is rolled back: {doubt}; generation {next} serves all requests"
            );
        }
        Err(error) => tracing::warn!(
            app = &*slot.name,
            "{doubt}, but generation {number} cannot be rolled back: {error}"
        ),
    }
}

/// Sends the probe request to generations that are on probation, again and again, for as long as it is polled.
pub(super) async fn keep_probing(deployments: &Deployments) {
    let probe_all = async |slots: Vec<Arc<AppSlot>>| {
        join_all(slots.iter().map(|slot| keep_probing_one(deployments, slot))).await;
    };
    deployments.with_all(probe_all).await;
}

async fn keep_probing_one(deployments: &Deployments, slot: &AppSlot) {
    let spec = slot.spec();
    let Some(wanted) = &spec.config.probe else { return };
    loop {
        tokio::time::sleep(wanted.interval).await;
        let serving = [slot.canary(), Some(slot.current())].into_iter().flatten();
        for deployed in serving.filter(|deployed| deployed.generation.is_on_probation()) {
            let number = deployed.generation.number;
            let asked = Generation::new(slot.metrics.clone(), number);
            match probe::probe(&deployed.app, asked, wanted, deployments.tasks.clone()).await {
                // That says nothing of the component.
                Err(probe::ProbeFailure::Busy) => {}
                Err(failure) => {
                    tracing::warn!(app = &*slot.name, "generation {number}: the probe failed: {failure}");
                    deployed.generation.record_probe(false);
                }
                Ok(()) => deployed.generation.record_probe(true),
            }
        }
    }
}
