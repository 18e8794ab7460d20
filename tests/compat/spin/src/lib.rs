//! A greeting with the crate `spin-sdk`.

use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;

#[http_service]
async fn greet(_request: Request) -> impl IntoResponse {
    "Hello, Spin!\n"
}
