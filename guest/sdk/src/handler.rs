//! Exporting a handler.

use crate::look::twice;
use crate::{Error, Response};
use wasip3::http::types::{self, ErrorCode};

/// Exports an async function as the handler of this component: its `wasi:http/handler`.
///
/// The function takes a [`Request`](crate::Request) and returns anything that is [`IntoResponse`]: a
/// [`Response`], or a [`Result`](crate::Result) of one. Write it once in a crate, which is a `cdylib`.
///
/// One instance may run the function for several requests concurrently; they alternate at each `await`.
///
/// ```no_run
/// use linger_guest::{Request, Response, handler};
///
/// handler!(hello);
///
/// async fn hello(_request: Request) -> Response {
///     Response::text("Hello, world!\n")
/// }
/// ```
#[macro_export]
macro_rules! handler {
    ($handler:path) => {
        const _: () = {
            struct Handler;

            impl $crate::__private::wasip3::exports::http::handler::Guest for Handler {
                async fn handle(
                    request: $crate::__private::wasip3::http::types::Request,
                ) -> ::core::result::Result<
                    $crate::__private::wasip3::http::types::Response,
                    $crate::__private::wasip3::http::types::ErrorCode,
                > {
                    $crate::__private::run($handler($crate::Request::from(request))).await
                }
            }

            $crate::__private::wasip3::http::service::export!(Handler);
        };
    };
}

/// What a handler may return.
///
/// ```
/// use linger_guest::{IntoResponse, Response, Result};
///
/// fn respond(output: impl IntoResponse) -> Response {
///     output.into_response()
/// }
///
/// let found: Result = Ok(Response::text("here\n"));
/// let _response = respond(found);
/// ```
pub trait IntoResponse {
    /// The response that the client gets. Does not block.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl<E: Into<Error>> IntoResponse for Result<Response, E> {
    fn into_response(self) -> Response {
        self.unwrap_or_else(|error| error.into().into_response())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.answer()
    }
}

/// Runs a handler, and gives its output in the terms of WASI.
///
/// The handler is in a box of its own: the futures around it each have room twice for what they are given, six times its
/// size for as long as it waits.
pub fn run(
    handler: impl Future<Output: IntoResponse>,
) -> impl Future<Output = Result<types::Response, ErrorCode>> {
    let handler = Box::pin(handler);
    async { Ok(twice(handler).await.into_response().into()) }
}
