//! Queues and topics.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::json;

use linger_base::Name;
use linger_events::{Lease, NewEvent, Schedule, Settlement};
use linger_telemetry::WaitPoint;

use super::answer::{self, ApiProblem, error, json};
use super::routes::ApiRoute;
use super::{AdminApi, ApiResponse, receive};

/// The longest that a take waits.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// What a body may have before a store says what it allows.
const MAX_EVENT: usize = 64 << 20;

impl AdminApi {
    pub(super) async fn answer_of_events(
        &self,
        route: ApiRoute,
        names: &[&str],
        request: Request<Incoming>,
    ) -> ApiResponse {
        let store = self.operated.events.clone();
        match route {
            ApiRoute::Queues => return json(StatusCode::OK, &json!({ "queues": store.queues() })),
            ApiRoute::Topics => return json(StatusCode::OK, &json!({ "topics": store.topics() })),
            _ => {}
        }
        let name: Name = match names.first().copied().unwrap_or_default().parse() {
            Ok(name) => name,
            Err(invalid) => return error(StatusCode::BAD_REQUEST, &format!("{invalid}")),
        };
        let answer = match route {
            ApiRoute::Push => self.push(&name, request).await,
            ApiRoute::Publish => self.publish(&name, request).await,
            ApiRoute::Purge => self.purge(&name).await,
            _ => self.take(&name, request.uri().query().unwrap_or_default()).await,
        };
        answer.unwrap_or_else(|problem| problem.answer())
    }

    async fn push(&self, queue: &Name, request: Request<Incoming>) -> Result<ApiResponse, ApiProblem> {
        let query = request.uri().query().unwrap_or_default();
        let schedule = Schedule { delay: duration(query, "delay")?, time_to_live: duration(query, "ttl")? };
        let event = event(request).await?;
        let pushed = self.operated.events.clone().push(queue, event, schedule).await;
        let id = pushed
            .inspect_err(|error| self.operated.metrics.record_events_refused(WaitPoint::Queue, error))?;
        Ok(json(StatusCode::CREATED, &json!({ "id": id.to_string() })))
    }

    async fn publish(&self, topic: &Name, request: Request<Incoming>) -> Result<ApiResponse, ApiProblem> {
        let event = event(request).await?;
        let published = self.operated.events.clone().publish(topic, event).await;
        let cursor = published
            .inspect_err(|error| self.operated.metrics.record_events_refused(WaitPoint::Topic, error))?;
        Ok(json(StatusCode::CREATED, &json!({ "cursor": cursor.to_string() })))
    }

    async fn purge(&self, queue: &Name) -> Result<ApiResponse, ApiProblem> {
        let purged = self.operated.events.clone().purge(queue).await?;
        tracing::info!("queue {queue}: purged {purged} events");
        Ok(json(StatusCode::OK, &json!({ "purged": purged })))
    }

    /// Takes an event, which is gone then. With `?peek=true` it stays, and with `?wait=5s` it may come first.
    async fn take(&self, queue: &Name, query: &str) -> Result<ApiResponse, ApiProblem> {
        let wait = duration(query, "wait")?.unwrap_or_default().min(MAX_WAIT);
        let peek = match parameter(query, "peek").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(ApiProblem::new(StatusCode::BAD_REQUEST, "`peek` must be true or false")),
        };
        let store = self.operated.events.clone();
        // One that is there is handed out at once, whatever the wait.
        let taken = tokio::time::timeout(wait.max(Duration::from_millis(100)), store.take(queue)).await;
        let Ok(lease) = taken else {
            return Err(ApiProblem::new(
                StatusCode::NOT_FOUND,
                format!("queue {queue}: no event is available"),
            ));
        };
        let lease = lease
            .inspect_err(|error| self.operated.metrics.record_events_refused(WaitPoint::Queue, error))?;
        let answer = taken_answer(&lease);
        let settlement = if peek { Settlement::Release } else { Settlement::Ack };
        lease.settle(settlement).await?;
        Ok(answer)
    }
}

fn taken_answer(lease: &Lease) -> ApiResponse {
    let event = lease.event();
    let kind = event.content_type.as_deref().unwrap_or("application/octet-stream");
    let kind = HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let mut answer = answer::with(StatusCode::OK, kind, event.data.clone());
    let headers = answer.headers_mut();
    headers.insert("attempt", event.attempt.into());
    // It is of digits.
    if let Ok(id) = HeaderValue::from_str(&event.id.to_string()) {
        headers.insert("event-id", id);
    }
    if event.maybe_delivered {
        headers.insert("maybe-delivered", HeaderValue::from_static("true"));
    }
    answer
}

async fn event(request: Request<Incoming>) -> Result<NewEvent, ApiProblem> {
    let content_type = content_type(request.headers())?;
    let data = receive(request.into_body(), MAX_EVENT, "the event is too large; the limit is 64 MiB").await?;
    Ok(NewEvent { data, content_type })
}

fn content_type(headers: &HeaderMap) -> Result<Option<std::sync::Arc<str>>, ApiProblem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if linger_events::is_content_type(text) => Ok(Some(text.into())),
        _ => Err(ApiProblem::new(
            StatusCode::BAD_REQUEST,
            "the content type is not valid; use at most 256 bytes of ASCII",
        )),
    }
}

pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
}

fn duration(query: &str, name: &str) -> Result<Option<Duration>, ApiProblem> {
    let Some(text) = parameter(query, name) else { return Ok(None) };
    let wrong =
        |cause| ApiProblem::new(StatusCode::BAD_REQUEST, format!("`{name}`: {cause}; write `10s` or `5m`"));
    humantime::parse_duration(&text).map(Some).map_err(wrong)
}
