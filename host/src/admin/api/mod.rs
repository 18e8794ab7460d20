//! The admin API. `openapi.json`, beside this file, describes it.
//!
//! Bodies of answers are JSON, but for `/livez`, `/readyz`, `/metrics`, `/stream` and events. What failed has `error`, in one sentence.

mod answer;
mod apps;
mod events;
mod requests;
mod routes;
mod stream;

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use linger_base::limit::Limit;
use linger_config::Admin;
use linger_deploy::Deployments;
use linger_events::EventStore;
use linger_http::{Buffers, Connections};
use linger_telemetry::{Log, Metrics};

use super::access::{self, Refusal};
use crate::admin::Exposition;
use crate::reload::{ReloadError, Reloader};
use answer::{Problem, error, json, text};
use routes::{Found, Route};

/// How long a body may take to come in.
const BODY_TIMEOUT: Duration = Duration::from_mins(5);

/// What operators can see and change. The apps go with the last request to them, and not with this.
pub struct Operated {
    /// All apps.
    pub deployments: Weak<Deployments>,
    /// Reads the configuration again.
    pub reloader: Weak<Reloader>,
    /// The queues and topics.
    pub events: Arc<dyn EventStore>,
    /// The metrics.
    pub metrics: Metrics,
    /// All metrics, as text.
    pub exposition: Exposition,
    /// The connections of clients, for each core.
    pub connections: Vec<Arc<Connections>>,
    /// Where the bodies of requests are until their guests read them.
    pub body_buffers: Arc<Buffers>,
    /// What of the log is wanted.
    pub log: Log,
    /// Cancelled when the server is to stop, and no load balancer should choose it any more.
    pub leaving: CancellationToken,
    /// Cancelled when it shuts down.
    pub stopping: CancellationToken,
}

pub(super) struct Api {
    operated: Operated,
    config: Admin,
    /// Requests that take long, and leave connections to those that ask how the server is.
    long: Arc<Limit>,
    /// Those who follow what happens.
    followers: Arc<Limit>,
}

/// How many requests may take long at a time.
const MAX_LONG: usize = 64;

/// How many may follow what happens.
const MAX_FOLLOWERS: usize = 16;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Api {
    pub(super) fn new(operated: Operated, config: Admin) -> Self {
        let followers = Limit::new(MAX_FOLLOWERS);
        Self { operated, config, long: Limit::new(MAX_LONG), followers }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let path = request.uri().path().to_owned();
        let found = routes::find(request.method(), &path);
        let open = matches!(&found, Found::Route(route, _) if route.is_open());
        if !open && let Err(refusal) = access::check(&self.config, request.headers()) {
            return Ok(refused(refusal));
        }
        Ok(match found {
            Found::Route(route, names) => self.act(route, &names, request).await,
            Found::OtherMethods(allowed) => answer::not_allowed(&allowed),
            Found::Nothing => error(StatusCode::NOT_FOUND, "unknown path; GET /openapi.json lists all paths"),
        })
    }

    /// What reads is answered to the end; what changes apps is given up when the server stops, which waits for them.
    async fn act(&self, route: Route, names: &[&str], request: Request<Incoming>) -> Answer {
        let takes_long = matches!(route, Route::Take | Route::Deploy | Route::Reload);
        let share = takes_long.then(|| self.long.try_take());
        if matches!(share, Some(None)) {
            return error(StatusCode::SERVICE_UNAVAILABLE, "too many slow requests are in-flight; try again");
        }
        match route {
            Route::Page => answer::page("text/html; charset=utf-8", include_str!("../dashboard/index.html")),
            Route::Style => {
                answer::page("text/css; charset=utf-8", include_str!("../dashboard/dashboard.css"))
            }
            Route::Script => {
                answer::page("text/javascript; charset=utf-8", include_str!("../dashboard/dashboard.js"))
            }
            Route::Live => text(StatusCode::OK, "the server runs\n"),
            Route::Ready if self.operated.leaving.is_cancelled() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down\n")
            }
            Route::Ready => match self.operated.events.trouble() {
                Some(trouble) => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &format!("the event store is unavailable: {trouble}\n"),
                ),
                None if self.operated.body_buffers.are_full() => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unread request bodies use all of limits.max_body_buffers\n",
                ),
                None => text(StatusCode::OK, "the server accepts requests\n"),
            },
            Route::Metrics => {
                let mut answer = text(StatusCode::OK, &self.operated.exposition.text());
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Exposition::CONTENT_TYPE));
                answer
            }
            Route::OpenApi => answer::document(include_str!("openapi.json")),
            Route::Log => self.log(),
            Route::SetLog => self.set_log(request).await,
            Route::Stream => self.stream(request.uri().query().unwrap_or_default()),
            Route::Requests => self.requests(request.uri().query()),
            Route::Queues | Route::Push | Route::Take | Route::Purge | Route::Topics | Route::Publish => {
                self.answer_of_events(route, names, request).await
            }
            Route::Apps | Route::Deploy | Route::Promote | Route::Abort | Route::RollBack | Route::Reload => {
                let stopping = error(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down");
                tokio::select! {
                    biased;
                    () = self.operated.stopping.cancelled() => stopping,
                    answer = self.answer_of_apps(route, names, request) => answer.unwrap_or(stopping),
                }
            }
        }
    }

    fn log(&self) -> Answer {
        json(StatusCode::OK, &json!({ "log": self.operated.log.wanted() }))
    }

    async fn set_log(&self, request: Request<Incoming>) -> Answer {
        /// More than anybody writes.
        const MOST: usize = 4096;
        let wanted = match receive(
            request.into_body(),
            MOST,
            "the log filter is too long; the limit is 4 KiB",
        )
        .await
        {
            Ok(wanted) => wanted,
            Err(problem) => return problem.answer(),
        };
        let wanted = String::from_utf8_lossy(&wanted);
        match self.operated.log.want(wanted.trim()) {
            Ok(()) => self.log(),
            Err(message) => error(StatusCode::BAD_REQUEST, &message),
        }
    }

    async fn reload(&self) -> Option<Answer> {
        let reloader = self.operated.reloader.upgrade()?;
        Some(match reloader.reload().await {
            Ok(changes) => {
                let mut answer = json!(changes);
                answer["changes"] = json!(changes.sentences());
                json(StatusCode::OK, &answer)
            }
            Err(failure @ ReloadError::NoConfiguration) => error(StatusCode::CONFLICT, &failure.to_string()),
            Err(failure) => error(StatusCode::UNPROCESSABLE_ENTITY, &failure.to_string()),
        })
    }
}

/// All of a body.
async fn receive(body: Incoming, most: usize, too_long: &str) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, collect(body, most)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, too_long)),
        Ok(Err(cause)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, format!("the request body was cut off: {cause}")))
        }
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the request body arrived too slowly")),
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

fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::NoToken => answer::unauthorized(),
        Refusal::Browser => {
            error(StatusCode::FORBIDDEN, "requests from web pages of other origins are refused")
        }
        Refusal::ForeignHost => error(
            StatusCode::FORBIDDEN,
            "use 127.0.0.1, [::1] or localhost as the hostname, or set admin.token",
        ),
    }
}
