//! Middleware: components in front of an app's own.

use crate::harness::{
    ADMIN, ClientLeave, H1, H2, Protocol, Request, Server, assert_refused, component, eventually, put,
    serve_in_vain, text, write_config,
};

const TOKEN: &str = "middleware = ['token.wasm']\nenv = { TOKEN = 'secret' }\n";

/// Serves a component behind the example `token`, in a folder that has it.
async fn serve(name: &str, more: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(component("token"), folder.path().join("token.wasm")).unwrap();
    Server::in_folder(folder, &format!("{ADMIN}[apps.app]\ncomponent = '{{{name}}}'\n{TOKEN}{more}")).await
}

fn with_token(request: Request) -> Request {
    request.header("authorization", "Bearer secret")
}

#[tokio::test]
async fn request_with_the_token_passes_and_others_do_not() {
    let server = serve("longpoll", "").await;
    for protocol in [H1, H2] {
        let push = || Request::post("/push/q", "event");
        let poll = || Request::get("/poll/q?wait=5");
        for refused in [push(), push().header("authorization", "Bearer Secret"), poll()] {
            let answer = server.send(protocol, &refused).await;
            answer.expect(401);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        server.send(protocol, &with_token(push())).await.expect(202);
        assert_eq!(server.send(protocol, &with_token(poll())).await.expect(200), "event");
    }
}

/// Leaves when its request has begun.
async fn begins_and_leaves(server: &Server, protocol: Protocol, target: &str) {
    let waiting = server.open(protocol, &with_token(Request::get(target))).await;
    eventually("it has begun", async || {
        (server.generations().await[0]["requests"]["running"] == 1).then_some(())
    })
    .await;
    drop(waiting.leave(ClientLeave::Close).await);
}

#[tokio::test]
async fn client_that_leaves_costs_no_event_behind_middleware() {
    for route in ["", "[[routes]]\napp = 'app'\non_disconnect = 'cancel'\n"] {
        let server = serve("longpoll", route).await;
        for protocol in [H1, H2] {
            begins_and_leaves(&server, protocol, "/poll/q?wait=60").await;
            server.send(H1, &with_token(Request::post("/push/q", "event"))).await.expect(202);
            let answer = server.send(H1, &with_token(Request::get("/poll/q?wait=5"))).await;
            assert_eq!(answer.expect(200), "event");
            assert_eq!(answer.header("maybe-delivered"), None);
        }
    }
}

#[tokio::test]
async fn cancelled_call_is_dropped_through_the_whole_chain() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(component("token"), folder.path().join("token.wasm")).unwrap();
    let twice = "middleware = ['token.wasm', 'token.wasm']\nenv = { TOKEN = 'secret' }\n";
    let route = "[[routes]]\napp = 'app'\ngrace = '1h'\non_disconnect = 'cancel'\n";
    let server = Server::in_folder(
        folder,
        &format!("{ADMIN}[apps.app]\ncomponent = '{{plain-wait}}'\n{twice}{route}"),
    )
    .await;
    for number in 1..=5 {
        begins_and_leaves(&server, H1, "/wait").await;
        eventually("its destructors ran", async || {
            (server.log.text().matches("dropped in time").count() >= number).then_some(())
        })
        .await;
    }
    assert!(!server.log.text().contains("trapped"), "{}", server.log.text());
}

#[tokio::test]
async fn middleware_that_changes_is_another_generation() {
    let server = serve("hello", "").await;
    server.get("/").await.expect(401);
    assert_eq!(text(&server.operate(&["reload"]).await.stdout), "nothing has changed\n");
    put(&server.folder().join("token.wasm"), "hello");
    assert_refused(
        &server.operate(&["reload"]).await,
        &["token.wasm: the component is not a middleware for"],
    );
    server.get("/").await.expect(401);
    // One that knows of no token. The one that was refused had a number, too.
    put(&server.folder().join("token.wasm"), "cancel");
    assert_eq!(
        text(&server.operate(&["reload"]).await.stdout),
        "apps.app: generation 3 serves all requests\n"
    );
    server.get("/").await.expect(200);
}

#[test]
fn what_is_no_middleware_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (middleware, says) in [
        ("'{hello}'", "not a middleware for"),
        ("'nothing.wasm'", "nothing.wasm"),
        ("'linger.toml'", "not a WebAssembly component"),
    ] {
        let config = format!("[apps.app]\ncomponent = '{{longpoll}}'\nmiddleware = [{middleware}]\n");
        let file = write_config(folder.path(), &config);
        assert_refused(&serve_in_vain(&file, &[]), &[says]);
    }
}
