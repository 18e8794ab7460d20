//! Apps and their generations.

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode;
use serde_json::{Value, json};

use linger_deploy::{AppSlot, DeployError, DeployRecord, Deployments, TrafficSplit};
use linger_wasm::ComponentSource;

use super::answer::{error, json};
use super::routes::ApiRoute;
use super::{AdminApi, ApiResponse, receive};
use crate::admin::{CANARY, SOURCE};

impl AdminApi {
    /// None when the apps have gone.
    pub(super) async fn answer_of_apps(
        &self,
        route: ApiRoute,
        names: &[&str],
        request: Request<Incoming>,
    ) -> Option<ApiResponse> {
        let deployments = self.operated.deployments.upgrade()?;
        let app = names.first().copied().unwrap_or_default();
        Some(match route {
            ApiRoute::Deploy => self.deploy(&deployments, app, request).await,
            ApiRoute::Promote => result(deployments.promote(app)),
            ApiRoute::Abort => result(deployments.abort(app)),
            ApiRoute::RollBack => result(deployments.roll_back(app)),
            ApiRoute::Reload => self.reload().await?,
            _ => json(StatusCode::OK, &apps(&deployments)),
        })
    }

    async fn deploy(&self, deployments: &Deployments, app: &str, request: Request<Incoming>) -> ApiResponse {
        let name = request.headers().get(SOURCE);
        let name = name.map(|name| percent_decode(name.as_bytes()).decode_utf8_lossy().into_owned());
        let name = name.map_or_else(|| PathBuf::from("the component"), PathBuf::from);
        let canary = canary(request.headers());
        let limit = self.config.max_component_size;
        let known = deployments.slot(app).map(drop);
        // What nobody wants is not kept.
        let most = if known.is_ok() { usize::try_from(limit.as_u64()).unwrap_or(usize::MAX) } else { 0 };
        let too_long = format!("the component is too large; the limit is {limit} (admin.max_component_size)");
        let received = receive(request.into_body(), most, &too_long).await;
        if let Err(unknown) = known {
            return result(Err(unknown));
        }
        match (received, canary) {
            (Err(problem), _) => problem.answer(),
            (_, Err(message)) => error(StatusCode::BAD_REQUEST, &message),
            (Ok(bytes), Ok(canary)) => {
                result(deployments.deploy(app, ComponentSource { name, bytes }, canary).await)
            }
        }
    }
}

fn apps(deployments: &Deployments) -> Value {
    let app = |slot: &Arc<AppSlot>| {
        let generations: Vec<_> = slot.history().iter().map(|generation| json!(generation)).collect();
        json!({
            "app": &*slot.name,
            "requests": slot.requests.in_use(),
            "instances": slot.instances(),
            "generations": generations,
        })
    };
    json!({ "apps": deployments.slots().iter().map(app).collect::<Vec<_>>() })
}

/// Which requests a component is for, if not for all.
fn canary(headers: &HeaderMap) -> Result<Option<TrafficSplit>, String> {
    let Some(value) = headers.get(CANARY) else { return Ok(None) };
    let split = value.to_str().map_err(|_| format!("{CANARY} is not ASCII"))?;
    split.parse().map(Some).map_err(|message| format!("{CANARY}: {message}"))
}

fn result(result: Result<DeployRecord, DeployError>) -> ApiResponse {
    let failure = match result {
        Ok(record) => return json(StatusCode::OK, &json!(record)),
        Err(failure) => failure,
    };
    let status = match failure {
        // It is as it was asked for.
        DeployError::Unchanged(generation) => {
            return json(StatusCode::OK, &json!({ "generation": generation, "unchanged": true }));
        }
        DeployError::NoSuchApp { .. } => StatusCode::NOT_FOUND,
        DeployError::Busy | DeployError::NothingBefore | DeployError::NoCanary => StatusCode::CONFLICT,
        DeployError::Load(_) | DeployError::Start(_) | DeployError::Probe(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        DeployError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error(status, &failure.to_string())
}
