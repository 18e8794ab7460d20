//! The examples in other languages than Rust, as far as they are not those that stand for `longpoll` in other tests.

use crate::harness::Server;

#[tokio::test]
#[ignore = "`make test-languages` builds and runs it"]
async fn hello_of_quickjs_greets_by_name() {
    let server = Server::start("js-hello").await;
    for _ in 0..3 {
        assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
        assert_eq!(server.get("/?name=Ad%C3%A4+L").await.expect(200), "Hello, Adä L!\n");
    }
}
