//! The middleware in front of components that do not know of cancellation.
//!
//! The host composes it with a WASI 0.3 handler whose app has `on_disconnect = "cancel"`. It hands requests on and,
//! when one has ended before its handler returned, drops the call: that is the Component Model's own
//! `subtask.cancel`. A handler in Rust is then dropped where it waits, its destructors run, and its place is free.

// Generated code has no documentation.
#![allow(missing_docs)]

use exports::wasi::http0_3_0::handler::Guest;
use linger::middleware::ending;
use std::future::IntoFuture as _;
use wasi::http0_3_0::handler;
use wasi::http0_3_0::types::{ErrorCode, Request, Response};

wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    inline: "
        package linger:cancel;

        world middleware {
            import linger:middleware/ending@0.1.0;
            import wasi:http/handler@0.3.0;
            export wasi:http/handler@0.3.0;
        }
    ",
    world: "linger:cancel/middleware",
    generate_all,
});

struct Middleware;

export!(Middleware);

impl Guest for Middleware {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let ended = ending::ended().into_future();
        tokio::select! {
            biased;
            response = handler::handle(request) => response,
            () = ended => Err(ErrorCode::ConnectionTerminated),
        }
    }
}
