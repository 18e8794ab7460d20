//! The headers of a guest's response that describe its body.

use http::{Response, StatusCode, header};
use hyper::body::Body;

use linger_exchange::Exchange;
use linger_wasm::App;

use crate::error_response::NO_STORE;
use crate::request::content_length;

/// Whether there is no body with a status, whatever the guest gives (RFC 9110, section 15).
pub(crate) fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// How long the body of a response is, where that is known.
pub(crate) fn length(response: &Response<impl Body>) -> Option<u64> {
    response.body().size_hint().exact().or_else(|| content_length(response.headers()))
}

/// An answer that holds an event, or could have held one, is for one client and one moment: a cache would give it to others,
/// and a 204 as well. One that streams can ask for events after its head. What a guest says by itself counts.
pub(crate) fn keep_out_of_caches(response: &mut Response<impl Body>, exchange: &Exchange, app: &App) {
    if exchange.has_asked_for_events() || (app.may_ask_for_events() && length(response).is_none()) {
        response.headers_mut().entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    }
}
