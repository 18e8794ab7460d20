//! `linger:host/whole`.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full};
use wasmtime::Result;
use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi_http::p3::{Request, Response};
use wasmtime_wasi_http::{FieldMap, FieldMapError, WasiHttpView as _};

use super::{Linger, wit};
use crate::guest::state::State;
use crate::guest::{Body, BodyError as Broken};
use wit::whole::{BodyError, ResponseError};

/// Bytes of names and values: what `wasi:http` allows its `fields`.
const MAX_HEADERS: usize = 128 * 1024;

type Headers = Vec<(String, Vec<u8>)>;

impl wit::whole::Host for State {
    fn respond(
        &mut self,
        status: u16,
        headers: Headers,
        body: Vec<u8>,
    ) -> Result<Result<Resource<Response>, ResponseError>> {
        match self.response(status, headers, body) {
            Ok(response) => Ok(Ok(self.table.push(response)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl State {
    fn response(&mut self, status: u16, headers: Headers, body: Vec<u8>) -> Result<Response, ResponseError> {
        let status = StatusCode::from_u16(status).map_err(|_| ResponseError::InvalidStatus)?;
        let http = self.http();
        let mut fields = FieldMap::new_mutable(MAX_HEADERS);
        for (name, value) in headers {
            if name.eq_ignore_ascii_case(header::CONTENT_LENGTH.as_str()) {
                // Hyper says it, from the body.
                check_length(&name, &value, body.len())?;
                continue;
            }
            let added = match (HeaderName::try_from(&name), HeaderValue::try_from(value)) {
                (Ok(key), _) if http.hooks.is_forbidden_header(&key) => Err(FieldMapError::Forbidden),
                (Ok(key), Ok(value)) => fields.append_raw(key, value),
                _ => Err(FieldMapError::InvalidHeaderName),
            };
            added.map_err(|error| refusal(&error, name))?;
        }
        let mut response = http::Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        *response.headers_mut() = fields.into();
        let (response, _sent) = Response::from_http(http.hooks, response);
        Ok(response)
    }
}

fn check_length(name: &str, value: &[u8], length: usize) -> Result<(), ResponseError> {
    let said = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
    if said == Some(length) { Ok(()) } else { Err(ResponseError::InvalidHeader(name.to_owned())) }
}

fn refusal(error: &FieldMapError, name: String) -> ResponseError {
    match error {
        FieldMapError::Forbidden => ResponseError::ForbiddenHeader(name),
        FieldMapError::TooManyFields | FieldMapError::TotalSizeTooBig => ResponseError::HeadersTooLarge,
        _ => ResponseError::InvalidHeader(name),
    }
}

impl wit::whole::HostWithStore<State> for Linger {
    async fn body(
        accessor: &Accessor<State, Self>,
        request: Resource<Request>,
        limit: u64,
    ) -> Result<Result<Vec<u8>, BodyError>> {
        let taken = accessor.with(|mut store| {
            let state = store.get();
            let limit = limit.min(state.max_body);
            let request = take_body(state.table.get_mut(&request)?);
            let (request, _) = match request.into_http(&mut store, async { Ok(()) }) {
                Ok(taken) => taken,
                // Its head is refused: there is no body either.
                Err(_) => return wasmtime::error::Ok(None),
            };
            Ok(Some((request.into_body(), limit)))
        })?;
        Ok(match taken {
            Some((body, limit)) => collect(body, limit).await,
            None => Err(BodyError::Broken),
        })
    }
}

/// The request as it was. What stays has no body.
fn take_body(request: &mut Request) -> Request {
    let (without, _sent) = Request::new(
        request.method.clone(),
        request.scheme.clone(),
        request.authority.clone(),
        request.path_with_query.clone(),
        request.headers.clone(),
        request.options.clone(),
        Empty::<Bytes>::new().map_err(|never| -> Broken { match never {} }),
    );
    std::mem::replace(request, without)
}

async fn collect(mut body: Body, limit: u64) -> Result<Vec<u8>, BodyError> {
    let mut data = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if (data.len() + chunk.len()) as u64 > limit {
            return Err(BodyError::TooLarge(limit));
        }
        data.extend_from_slice(&chunk);
    }
    Ok(data.into())
}
