//! Answers.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use linger_events::StoreError;

use super::ApiResponse;

/// Why something was not done.
#[derive(Debug)]
pub(super) struct ApiProblem {
    status: StatusCode,
    message: String,
}

impl ApiProblem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn answer(&self) -> ApiResponse {
        error(self.status, &self.message)
    }
}

impl From<StoreError> for ApiProblem {
    fn from(failure: StoreError) -> Self {
        let status = match failure {
            StoreError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            StoreError::OverLimit(_) => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::Settled => StatusCode::CONFLICT,
            StoreError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, failure.to_string())
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(super) fn error(status: StatusCode, message: &str) -> ApiResponse {
    json(status, &json!({ "error": message }))
}

pub(super) fn json(status: StatusCode, value: &Value) -> ApiResponse {
    with(status, JSON, format!("{value}\n").into())
}

/// A document that was made before.
pub(super) fn document(json: &'static str) -> ApiResponse {
    with(StatusCode::OK, JSON, json.into())
}

/// A part of the dashboard, which uses nothing from elsewhere, and is in no frame.
pub(super) fn page(content_type: &'static str, text: &'static str) -> ApiResponse {
    let mut answer = with(StatusCode::OK, HeaderValue::from_static(content_type), text.into());
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

pub(super) fn text(status: StatusCode, text: &str) -> ApiResponse {
    with(status, TEXT, text.to_owned().into())
}

pub(super) fn with(status: StatusCode, content_type: HeaderValue, body: Bytes) -> ApiResponse {
    let mut answer = Response::new(Full::new(body).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

pub(super) fn not_allowed(allowed: &[&'static str]) -> ApiResponse {
    let allowed = allowed.join(", ");
    let mut answer =
        error(StatusCode::METHOD_NOT_ALLOWED, &format!("the method is not allowed; use {allowed}"));
    // Methods are of ASCII.
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

pub(super) fn unauthorized() -> ApiResponse {
    let mut answer =
        error(StatusCode::UNAUTHORIZED, "send `authorization: Bearer TOKEN` with the value of admin.token");
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}
