//! What the admin listener answers.
//!
//! | request | answer |
//! |---|---|
//! | `GET /apps` | each app, and its generations, the latest first |
//! | `PUT /apps/{app}`, a component | deploys it: its record; 422 with the reason when it was refused |
//! | `POST /apps/{app}/rollback` | the record of the generation that serves again |
//!
//! All bodies of answers are JSON. What failed has `error`, in one sentence.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::SOURCE;
use super::access::{self, Refusal};
use crate::config::Admin;
use crate::deploy::{DeployError, Deployments};
use crate::guest::Source;

/// How long a component may take to come in.
const BODY_TIMEOUT: Duration = Duration::from_mins(5);

pub(super) struct Api {
    pub(super) deployments: Arc<Deployments>,
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
            (&Method::POST, ["apps", app, "rollback"]) => result(self.deployments.roll_back(app)),
            (_, ["apps"]) => not_allowed("GET"),
            (_, ["apps", _]) => not_allowed("PUT"),
            (_, ["apps", _, "rollback"]) => not_allowed("POST"),
            _ => error(
                StatusCode::NOT_FOUND,
                "there is GET /apps, PUT /apps/{app} and POST /apps/{app}/rollback",
            ),
        })
    }

    fn apps(&self) -> Value {
        let apps = self.deployments.slots().map(|slot| {
            let generations = slot.history().into_iter().map(|(record, state)| {
                let mut generation = json!(record);
                generation["state"] = json!(state);
                generation
            });
            json!({ "app": &*slot.current().generation.app, "generations": generations.collect::<Vec<_>>() })
        });
        json!({ "apps": apps.collect::<Vec<_>>() })
    }

    async fn deploy(&self, app: &str, request: Request<Incoming>) -> Answer {
        let name = request.headers().get(SOURCE).and_then(|name| name.to_str().ok());
        let name = PathBuf::from(name.unwrap_or("the component"));
        let limit = self.config.max_component_size;
        let known = self.deployments.slot(app).map(drop);
        // What nobody wants is not kept.
        let most = if known.is_ok() { usize::try_from(limit.as_u64()).unwrap_or(usize::MAX) } else { 0 };
        let received = tokio::time::timeout(BODY_TIMEOUT, collect(request.into_body(), most)).await;
        if let Err(unknown) = known {
            return result(Err(unknown));
        }
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
        result(self.deployments.deploy(app, Source { name, bytes }).await)
    }
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
        DeployError::Busy | DeployError::NothingBefore => StatusCode::CONFLICT,
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
