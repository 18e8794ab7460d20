//! Background work of a request.

use wasip3::wit_bindgen::spawn_local;

/// Runs the future concurrently with the handler, in the same request. Does not block.
///
/// It goes on after the handler has returned its response, and the request stays in-flight until it ends. End it on
/// [`cancellation()`](crate::cancellation()), which comes at the latest when the response has been sent.
///
/// A handler whose call is cancelled from outside is dropped at its current `await`. Spawned futures go on.
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
