//! Work beside the handler.

use wasip3::wit_bindgen::spawn_local;

/// Runs the future beside the handler, in the same request. Does not block.
///
/// It goes on when the handler has returned its response, and its request counts as running until it ends: end it
/// when [`cancellation()`](crate::cancellation()) says so, which it does at the latest when the response has been
/// sent.
///
/// A handler whose call is cancelled from outside is dropped where it waits. What it spawned goes on.
///
/// ```no_run
/// use linger_guest::{Request, Response, queue, spawn};
///
/// async fn visit(request: Request) -> Response {
///     let path = request.path().to_string();
///     spawn(async move {
///         if let Err(error) = queue("visits").push(path.as_bytes()).content_type("text/plain").await {
///             eprintln!("the visit was not noted: {error}");
///         }
///     });
///     Response::text("welcome\n")
/// }
/// ```
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    spawn_local(future);
}
