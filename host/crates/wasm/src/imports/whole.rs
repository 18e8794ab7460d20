//! `linger:host/whole`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use wasmtime::component::{Access, Accessor, Resource};
use wasmtime::{AsContextMut as _, Result};
use wasmtime_wasi_http::p3::{Request, Response};
use wasmtime_wasi_http::{FieldMap, FieldMapError, WasiHttpView as _};
use wit::whole::{BodyError, ResponseError};

use linger_exchange::Exchange;
use linger_telemetry::Reached;

use super::{LingerImports, wit};
use crate::budget::HostBudget;
use crate::state::{StoreState, current};
use crate::{BodyError as HttpError, BoundaryBody};

/// Bytes of names and values: what `wasi:http` allows its `fields`.
const MAX_HEADERS: usize = 128 * 1024;

/// Marks the body of a request that was read.
const CONSUMED: &str = "the body was already read by linger:host/whole.body";

pub(super) type HeaderFields = Vec<(String, Vec<u8>)>;

impl wit::whole::Host for StoreState {}

impl StoreState {
    /// The host cannot hold what a guest wants it to, since it holds too much for others in its instance.
    fn note_over_limit(exchange: Option<&Exchange>) {
        let Some(exchange) = exchange else { return };
        exchange.mark_over_limit();
        exchange.generation.metrics.record_reached(Reached::InstanceMemory);
    }

    /// Makes a response whose body is these bytes.
    pub(super) fn respond_with(
        &mut self,
        status: u16,
        headers: HeaderFields,
        body: Bytes,
    ) -> Result<Result<Resource<Response>, ResponseError>> {
        match self.response(status, headers, body) {
            Ok(response) => Ok(Ok(self.table.push(response)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn response(
        &mut self,
        status: u16,
        headers: HeaderFields,
        body: Bytes,
    ) -> Result<Response, ResponseError> {
        let status = StatusCode::from_u16(status).map_err(|_| ResponseError::InvalidStatus)?;
        if status.is_informational() || status.as_u16() > 599 {
            return Err(ResponseError::InvalidStatus);
        }
        let fields = self.fields(headers, body.len())?;
        let mut response = http::Response::new(Full::new(body));
        *response.status_mut() = status;
        *response.headers_mut() = fields.into();
        let (response, _sent) = Response::from_http(self.http().hooks, response);
        Ok(response)
    }

    fn fields(&mut self, headers: HeaderFields, length: usize) -> Result<FieldMap, ResponseError> {
        let http = self.http();
        let mut fields = FieldMap::new_mutable(MAX_HEADERS);
        for (name, value) in headers {
            let key = HeaderName::try_from(&name);
            // Hyper says it, from the body, if there is one.
            if matches!(key, Ok(header::CONTENT_LENGTH)) && is_length(&value, length) {
                continue;
            }
            let added = match (key, HeaderValue::try_from(value)) {
                (Ok(header::CONTENT_LENGTH), _) if length > 0 => Err(FieldMapError::InvalidHeaderValue),
                (Ok(key), _) if http.hooks.is_forbidden_header(&key) => Err(FieldMapError::Forbidden),
                (Ok(key), Ok(value)) => fields.append_raw(key, value),
                _ => Err(FieldMapError::InvalidHeaderName),
            };
            added.map_err(|error| refusal(error, name))?;
        }
        Ok(fields)
    }
}

fn is_length(value: &[u8], length: usize) -> bool {
    length > 0 && value == length.to_string().as_bytes()
}

fn refusal(error: FieldMapError, name: String) -> ResponseError {
    match error {
        FieldMapError::Forbidden => ResponseError::ForbiddenHeader(name),
        FieldMapError::TooManyFields | FieldMapError::TotalSizeTooBig => ResponseError::HeadersTooLarge,
        _ => ResponseError::InvalidHeader(name),
    }
}

impl wit::whole::HostWithStore<StoreState> for LingerImports {
    fn respond(
        mut store: Access<'_, StoreState, Self>,
        status: u16,
        headers: HeaderFields,
        body: Vec<u8>,
    ) -> Result<Result<Resource<Response>, ResponseError>> {
        if let Some(body) = store.get().budget.bytes(body) {
            return store.get().respond_with(status, headers, body);
        }
        // It cannot wait here: the whole instance would.
        let exchange = current(store.as_context_mut())?;
        StoreState::note_over_limit(exchange.as_deref());
        Ok(Err(ResponseError::OverLimit))
    }

    async fn body(
        accessor: &Accessor<StoreState, Self>,
        request: Resource<Request>,
        limit: u64,
    ) -> Result<Result<Vec<u8>, BodyError>> {
        let (body, held, exchange) = accessor.with(|mut store| {
            // It is for the log and the status.
            let exchange = current(store.as_context_mut()).ok().flatten();
            let state = store.get();
            let held = (state.budget.clone(), state.patience);
            let taken = take_body(state.table.get_mut(&request)?);
            let body = taken.into_http(&mut store, async { Ok(()) }).map(|(request, _)| request.into_body());
            wasmtime::error::Ok((body, held, exchange))
        })?;
        Ok(match body {
            Ok(body) => {
                let (budget, patience) = held;
                let collected = collect(body, limit.min(budget.total()), &budget, patience).await;
                if matches!(collected, Err(BodyError::OverLimit)) {
                    StoreState::note_over_limit(exchange.as_deref());
                }
                collected
            }
            // Nothing of its head is left that could be refused.
            Err(_) => Err(BodyError::Broken),
        })
    }
}

/// The request's body, as a request. What stays is all but the body.
fn take_body(request: &mut Request) -> Request {
    let consumed = || Err(HttpError::InternalError(Some(CONSUMED.to_owned())));
    let (without, _sent) = Request::new(
        request.method.clone(),
        request.scheme.take(),
        request.authority.take(),
        request.path_with_query.take(),
        std::mem::take(&mut request.headers),
        request.options.take(),
        StreamBody::new(futures::stream::once(async move { consumed() })),
    );
    let mut taken = std::mem::replace(request, without);
    // What a request of HTTP has to have.
    taken.scheme = Some(Scheme::HTTP);
    taken.authority = Some(Authority::from_static("body"));
    taken.path_with_query = Some(PathAndQuery::from_static("/"));
    taken
}

async fn collect(
    mut body: BoundaryBody,
    limit: u64,
    budget: &HostBudget,
    patience: Duration,
) -> Result<Vec<u8>, BodyError> {
    let least = body.size_hint().lower();
    if least > limit {
        return Err(BodyError::TooLarge(limit));
    }
    // What it will need at least, before it has anything that others could wait for.
    let mut share = budget.reserve(least, patience).await.ok_or(BodyError::OverLimit)?;
    let mut data = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error {
            HttpError::InternalError(Some(why)) if why == CONSUMED => BodyError::Consumed,
            _ => BodyError::Broken,
        })?;
        let Ok(chunk) = frame.into_data() else { continue };
        if (data.len() + chunk.len()) as u64 > limit {
            return Err(BodyError::TooLarge(limit));
        }
        if !share.add(chunk.len()) {
            return Err(BodyError::OverLimit);
        }
        data.extend_from_slice(&chunk);
    }
    Ok(data.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_that_of_the_body_to_the_letter() {
        assert!(is_length(b"5", 5));
        for other in [&b"+5"[..], b"05", b" 5", b"6", b""] {
            assert!(!is_length(other, 5), "{}", other.escape_ascii());
        }
        assert!(!is_length(b"0", 0), "without a body it is the guest's to say");
    }
}
