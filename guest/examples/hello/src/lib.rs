//! The smallest handler: it greets whoever asks.

use linger_guest::{Request, Response, handler};

handler!(hello);

async fn hello(request: Request) -> Response {
    Response::text(greeting(request.query("name").as_deref()))
}

fn greeting(name: Option<&str>) -> String {
    format!("Hello, {}!\n", name.unwrap_or("world"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_a_name_is_greeted_by_it() {
        assert_eq!(greeting(Some("Ada")), "Hello, Ada!\n");
        assert_eq!(greeting(None), "Hello, world!\n");
    }
}
