//! In-flight requests.

use http::StatusCode;
use serde_json::{Value, json};

use linger_http::InFlightRequest;

use super::answer::{error, json};
use super::{AdminApi, ApiResponse};

/// How many are listed where nothing is said, and at most.
const LISTED: usize = 100;
const MOST: usize = 10_000;

impl AdminApi {
    /// The oldest requests in progress. `?limit=N` says how many of them.
    pub(super) fn requests(&self, query: Option<&str>) -> ApiResponse {
        let Some(limit) = limit(query.unwrap_or_default()) else {
            return error(StatusCode::BAD_REQUEST, &format!("`limit` must be a number from 1 to {MOST}"));
        };
        let mut all: Vec<InFlightRequest> =
            self.operated.connections.iter().flat_map(|connections| connections.requests()).collect();
        all.sort_by_key(|request| std::cmp::Reverse(request.age));
        let listed: Vec<_> = all.iter().take(limit).map(show).collect();
        json(StatusCode::OK, &json!({ "total": all.len(), "requests": listed }))
    }
}

fn limit(query: &str) -> Option<usize> {
    match query.split('&').find_map(|pair| pair.strip_prefix("limit=")) {
        None => Some(LISTED),
        Some(limit) => limit.parse().ok().filter(|limit| (1..=MOST).contains(limit)),
    }
}

fn show(request: &InFlightRequest) -> Value {
    let exchange = &request.exchange;
    json!({
        "request": exchange.id.to_string(),
        "app": exchange.app(),
        "generation": exchange.generation.number,
        "client": exchange.info.client.map(|client| client.to_string()),
        "method": exchange.info.method.as_str(),
        "uri": exchange.info.uri.to_string(),
        "age": request.age.as_secs_f64(),
        "state": if exchange.is_answered() { "answering" } else { "waiting" },
        "cancelled": exchange.reason().map(linger_base::Reason::as_str),
    })
}
