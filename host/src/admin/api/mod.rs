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

use linger_base::permits::Permits;
use linger_config::AdminConfig;
use linger_deploy::Deployments;
use linger_events::EventStore;
use linger_http::{BodyBuffers, ConnectionList};
use linger_telemetry::{LogFilter, Metrics};

use super::access::{self, AccessRefusal};
use crate::admin::MetricsExposition;
use crate::reload::{ConfigReloader, ReloadError};
use answer::{ApiProblem, error, json, text};
use routes::{ApiRoute, FoundRoute};

/// How long a body may take to come in.
const BODY_TIMEOUT: Duration = Duration::from_mins(5);

/// What operators can see and change. The apps go with the last request to them, and not with this.
pub struct AdminContext {
    /// All apps.
    pub deployments: Weak<Deployments>,
    /// Reads the configuration again.
    pub reloader: Weak<ConfigReloader>,
    /// The queues and topics.
    pub events: Arc<dyn EventStore>,
    /// The metrics.
    pub metrics: Metrics,
    /// All metrics, as text.
    pub exposition: MetricsExposition,
    /// The connections of clients, for each core.
    pub connections: Vec<Arc<ConnectionList>>,
    /// Where the bodies of requests are until their guests read them.
    pub body_buffers: Arc<BodyBuffers>,
    /// What of the log is wanted.
    pub log: LogFilter,
    /// Cancelled when the server is to stop, and no load balancer should choose it any more.
    pub leaving: CancellationToken,
    /// Cancelled when it shuts down.
    pub stopping: CancellationToken,
}

pub(super) struct AdminApi {
    operated: AdminContext,
    config: AdminConfig,
    /// Requests that take long, and leave connections to those that ask how the server is.
    long: Arc<Permits>,
    /// Those who follow what happens.
    followers: Arc<Permits>,
}

/// How many requests may take long at a time.
const MAX_LONG: usize = 64;

/// How many may follow what happens.
const MAX_FOLLOWERS: usize = 16;

type ApiResponse = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl AdminApi {
    pub(super) fn new(operated: AdminContext, config: AdminConfig) -> Self {
        let followers = Permits::new(MAX_FOLLOWERS);
        Self { operated, config, long: Permits::new(MAX_LONG), followers }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<ApiResponse, Infallible> {
        let path = request.uri().path().to_owned();
        let found = routes::find(request.method(), &path);
        let open = matches!(&found, FoundRoute::Route(route, _) if route.is_open());
        if !open && let Err(refusal) = access::check(&self.config, request.headers()) {
            return Ok(refused(refusal));
        }
        Ok(match found {
            FoundRoute::Route(route, names) => self.act(route, &names, request).await,
            FoundRoute::OtherMethods(allowed) => answer::not_allowed(&allowed),
            FoundRoute::Nothing => {
                error(StatusCode::NOT_FOUND, "unknown path; GET /openapi.json lists all paths")
            }
        })
    }

    /// What reads is answered to the end; what changes apps is given up when the server stops, which waits for them.
    async fn act(&self, route: ApiRoute, names: &[&str], request: Request<Incoming>) -> ApiResponse {
        let takes_long = matches!(route, ApiRoute::Take | ApiRoute::Deploy | ApiRoute::Reload);
        let share = takes_long.then(|| self.long.try_take());
        if matches!(share, Some(None)) {
            return error(StatusCode::SERVICE_UNAVAILABLE, "too many slow requests are in-flight; try again");
        }
        match route {
            ApiRoute::Page => {
                answer::page("text/html; charset=utf-8", include_str!("../dashboard/index.html"))
            }
            ApiRoute::Style => {
                answer::page("text/css; charset=utf-8", include_str!("../dashboard/dashboard.css"))
            }
            ApiRoute::Script => {
                answer::page("text/javascript; charset=utf-8", include_str!("../dashboard/dashboard.js"))
            }
            ApiRoute::Live => text(StatusCode::OK, "the server runs\n"),
            ApiRoute::Ready if self.operated.leaving.is_cancelled() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down\n")
            }
            ApiRoute::Ready => match self.operated.events.trouble() {
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
            ApiRoute::Metrics => {
                let mut answer = text(StatusCode::OK, &self.operated.exposition.text());
                answer
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static(MetricsExposition::CONTENT_TYPE));
                answer
            }
            ApiRoute::OpenApi => answer::document(include_str!("openapi.json")),
            ApiRoute::Log => self.log(),
            ApiRoute::SetLog => self.set_log(request).await,
            ApiRoute::Stream => self.stream(request.uri().query().unwrap_or_default()),
            ApiRoute::Requests => self.requests(request.uri().query()),
            ApiRoute::Queues
            | ApiRoute::Push
            | ApiRoute::Take
            | ApiRoute::Purge
            | ApiRoute::Topics
            | ApiRoute::Publish => self.answer_of_events(route, names, request).await,
            ApiRoute::Apps
            | ApiRoute::Deploy
            | ApiRoute::Promote
            | ApiRoute::Abort
            | ApiRoute::RollBack
            | ApiRoute::Reload => {
                let stopping = error(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down");
                tokio::select! {
                    biased;
                    () = self.operated.stopping.cancelled() => stopping,
                    answer = self.answer_of_apps(route, names, request) => answer.unwrap_or(stopping),
                }
            }
        }
    }

    fn log(&self) -> ApiResponse {
        json(StatusCode::OK, &json!({ "log": self.operated.log.wanted() }))
    }

    async fn set_log(&self, request: Request<Incoming>) -> ApiResponse {
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

    async fn reload(&self) -> Option<ApiResponse> {
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
async fn receive(body: Incoming, most: usize, too_long: &str) -> Result<Bytes, ApiProblem> {
    match tokio::time::timeout(BODY_TIMEOUT, collect(body, most)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(ApiProblem::new(StatusCode::PAYLOAD_TOO_LARGE, too_long)),
        Ok(Err(cause)) => {
            Err(ApiProblem::new(StatusCode::BAD_REQUEST, format!("the request body was cut off: {cause}")))
        }
        Err(_) => Err(ApiProblem::new(StatusCode::REQUEST_TIMEOUT, "the request body arrived too slowly")),
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

fn refused(refusal: AccessRefusal) -> ApiResponse {
    match refusal {
        AccessRefusal::NoToken => answer::unauthorized(),
        AccessRefusal::Browser => {
            error(StatusCode::FORBIDDEN, "requests from web pages of other origins are refused")
        }
        AccessRefusal::ForeignHost => error(
            StatusCode::FORBIDDEN,
            "use 127.0.0.1, [::1] or localhost as the hostname, or set admin.token",
        ),
    }
}
