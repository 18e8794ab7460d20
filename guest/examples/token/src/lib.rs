//! Middleware: lets a request pass that brings `authorization: Bearer TOKEN`, and answers others with 401.
//!
//! `TOKEN` is a variable of the app's environment. In `linger.toml`:
//!
//! ```toml
//! [apps.poll]
//! component = "longpoll.wasm"
//! middleware = ["token.wasm"]
//! env = { TOKEN = "${API_TOKEN}" }
//! ```
//!
//! It knows nothing of Linger, and runs in front of any WASI 0.3 handler. When a call is cancelled, the future in which it
//! waits is dropped, and the call that it made with it.

// Generated code has no documentation.
#![allow(missing_docs)]

use exports::wasi::http0_3_0::handler::Guest;
use wasi::http0_3_0::handler;
use wasi::http0_3_0::types::{ErrorCode, Fields, Request, Response};

wit_bindgen::generate!({
    path: ["../../../wit"],
    inline: "
        package example:token;

        world middleware {
            import wasi:http/handler@0.3.0;
            export wasi:http/handler@0.3.0;
        }
    ",
    world: "example:token/middleware",
    generate_all,
});

struct Token;

export!(Token);

impl Guest for Token {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        // Without a token nobody passes: an app that forgot to set it is not open to all.
        match std::env::var("TOKEN") {
            Ok(token) if brings(&request.get_headers(), &token) => handler::handle(request).await,
            _ => Ok(unauthorized()),
        }
    }
}

fn brings(headers: &Fields, token: &str) -> bool {
    let expected = format!("Bearer {token}");
    let values = headers.get("authorization");
    !token.is_empty() && values.len() == 1 && is_same(&values[0], expected.as_bytes())
}

/// Takes as long wherever they differ, so that nobody can guess byte by byte.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

fn unauthorized() -> Response {
    let headers =
        [("www-authenticate".to_owned(), b"Bearer".to_vec()), ("content-length".to_owned(), b"0".to_vec())];
    let headers = Fields::from_list(&headers).expect("headers that HTTP allows");
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(headers, None, trailers);
    // A status that is one is taken.
    let _ = response.set_status_code(401);
    response
}
