//! What the admin listener answers.
//!
//! | request | answer |
//! |---|---|
//! | `GET /apps` | each app, and its generations, the latest first |
//! | `PUT /apps/{app}`, a component | deploys it: its record; 422 with the reason when it was refused |
//! | the same with `linger-canary: 10%`, or `x-beta: 1` | as a canary: for a share of the requests, or for those with this header |
//! | `POST /apps/{app}/promote` | the record of the canary, which serves all requests now |
//! | `POST /apps/{app}/abort` | the record of the canary, which serves no more |
//! | `POST /apps/{app}/rollback` | the record of the generation that serves again |
//! | `POST /reload` | what the configuration, read again, has changed; 422 with the reason when it changes nothing |
//!
//! All bodies of answers are JSON. What failed has `error`, in one sentence.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::access::{self, Refusal};
use super::{CANARY, SOURCE};
use crate::config::Admin;
use crate::deploy::{DeployError, Deployments, Slot, Split};
use crate::guest::Source;
use crate::reload::{ReloadError, Reloader};

/// How long a component may take to come in.
const BODY_TIMEOUT: Duration = Duration::from_mins(5);

pub(super) struct Api {
    pub(super) deployments: Arc<Deployments>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) config: Admin,
}

type Answer = Response<Full<Bytes>>;

impl Api {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        if let Err(refusal) = access::check(&self.config, request.headers()) {
            return Ok(refused(refusal));
        }
        let path = request.uri().path().to_owned();
        let parts: Vec<_> = path.split('/').skip(1).collect();
        Ok(match (request.method(), &parts[..]) {
            (&Method::GET, ["apps"]) => json(StatusCode::OK, &self.apps()),
            (&Method::PUT, ["apps", app]) => self.deploy(app, request).await,
            (&Method::POST, ["apps", app, "promote"]) => result(self.deployments.promote(app)),
            (&Method::POST, ["apps", app, "abort"]) => result(self.deployments.abort(app)),
            (&Method::POST, ["apps", app, "rollback"]) => result(self.deployments.roll_back(app)),
            (&Method::POST, ["reload"]) => self.reload().await,
            (_, ["apps"]) => not_allowed("GET"),
            (_, ["apps", _]) => not_allowed("PUT"),
            (_, ["apps", _, "promote" | "abort" | "rollback"] | ["reload"]) => not_allowed("POST"),
            _ => error(
                StatusCode::NOT_FOUND,
                "there is GET /apps, PUT /apps/{app}, POST /apps/{app}/promote, /abort and /rollback, and POST /reload",
            ),
        })
    }

    async fn reload(&self) -> Answer {
        match self.reloader.reload().await {
            Ok(reloaded) => {
                let mut answer = json!(reloaded);
                answer["changes"] = json!(reloaded.sentences());
                json(StatusCode::OK, &answer)
            }
            Err(failure @ ReloadError::NoConfiguration) => error(StatusCode::CONFLICT, &failure.to_string()),
            Err(failure) => error(StatusCode::UNPROCESSABLE_ENTITY, &failure.to_string()),
        }
    }

    fn apps(&self) -> Value {
        let app = |slot: &Arc<Slot>| {
            let generations: Vec<_> = slot.history().iter().map(|generation| json!(generation)).collect();
            json!({ "app": &*slot.current().generation.app, "generations": generations })
        };
        json!({ "apps": self.deployments.slots().iter().map(app).collect::<Vec<_>>() })
    }

    async fn deploy(&self, app: &str, request: Request<Incoming>) -> Answer {
        let name = request.headers().get(SOURCE).and_then(|name| name.to_str().ok());
        let name = PathBuf::from(name.unwrap_or("the component"));
        let canary = canary(request.headers());
        let limit = self.config.max_component_size;
        let known = self.deployments.slot(app).map(drop);
        // What nobody wants is not kept.
        let most = if known.is_ok() { usize::try_from(limit.as_u64()).unwrap_or(usize::MAX) } else { 0 };
        let received = tokio::time::timeout(BODY_TIMEOUT, collect(request.into_body(), most)).await;
        if let Err(unknown) = known {
            return result(Err(unknown));
        }
        let canary = match canary {
            Ok(canary) => canary,
            Err(message) => return error(StatusCode::BAD_REQUEST, &message),
        };
        let bytes = match received {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => {
                let message = format!("a component is at most {limit} here: admin.max_component_size");
                return error(StatusCode::PAYLOAD_TOO_LARGE, &message);
            }
            Ok(Err(cause)) => {
                return error(StatusCode::BAD_REQUEST, &format!("the component broke off: {cause}"));
            }
            Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "the component took too long to come in"),
        };
        result(self.deployments.deploy(app, Source { name, bytes }, canary).await)
    }
}

/// Which requests a component is for, if not for all.
fn canary(headers: &HeaderMap) -> Result<Option<Split>, String> {
    let Some(value) = headers.get(CANARY) else { return Ok(None) };
    let split = value.to_str().map_err(|_| format!("{CANARY} is not of ASCII"))?;
    split.parse().map(Some).map_err(|message| format!("{CANARY}: {message}"))
}

/// All of a body, or none if it is longer than that. It is read to its end in any case: who still sends does not listen.
async fn collect(mut body: Incoming, most: usize) -> hyper::Result<Option<Bytes>> {
    let (mut all, mut fits) = (BytesMut::new(), true);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        fits &= all.len() + data.len() <= most;
        if fits {
            all.extend_from_slice(&data);
        }
    }
    Ok(fits.then(|| all.freeze()))
}

fn result(result: Result<crate::deploy::Record, DeployError>) -> Answer {
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

fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::NoToken => {
            let mut answer =
                error(StatusCode::UNAUTHORIZED, "send `authorization: Bearer TOKEN`, with admin.token");
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
        Refusal::Browser => error(StatusCode::FORBIDDEN, "pages in browsers have no access here"),
        Refusal::ForeignHost => error(
            StatusCode::FORBIDDEN,
            "ask for 127.0.0.1, [::1] or localhost, or set admin.token for other names",
        ),
    }
}

fn not_allowed(method: &'static str) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, &format!("only {method} here"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    answer
}

fn error(status: StatusCode, message: &str) -> Answer {
    json(status, &json!({ "error": message }))
}

fn json(status: StatusCode, value: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{value}\n"))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
