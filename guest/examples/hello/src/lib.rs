//! The smallest handler: it greets whoever asks.

use linger_guest::{Request, Response, handler};

handler!(hello);

async fn hello(request: Request) -> Response {
    let name = request.query("name").unwrap_or_else(|| "world".into());
    Response::text(format!("Hello, {name}!\n"))
}
