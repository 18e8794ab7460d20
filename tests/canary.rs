//! Canaries: a new generation that serves some of the requests, until it serves all, or none.

use crate::cli::file;
use crate::harness::{
    ADMIN_TCP, H1, H2, KeptConnection, Request, Server, assert_refused, assert_serves, component, eventually,
    text,
};

const OLD: &str = "Hello, world!\n";
const NEW: &str = "plain-p3\n";

async fn greeter() -> Server {
    Server::operated("component = '{hello}'\n").await
}

/// How many of so many requests the new generation answers.
async fn served_by_new(server: &Server, requests: usize) -> usize {
    let mut client = KeptConnection::connect(H1, server.address()).await;
    let mut new = 0;
    for _ in 0..requests {
        let answer = client.ask(&Request::get("/")).await;
        match answer.expect(200) {
            NEW => new += 1,
            greeting => assert_eq!(greeting, OLD),
        }
    }
    new
}

fn beta(target: &str, value: &str) -> Request {
    Request::get(target).header("x-beta", value)
}

#[tokio::test]
async fn canary_serves_its_share_until_it_serves_all() {
    let server = greeter().await;
    let output = server.deploy_canary("plain-p3", "25%").await;
    assert_eq!(text(&output.stdout), "app: generation 2 serves 25%\n");
    let of_200 = served_by_new(&server, 200).await;
    assert!((40..=60).contains(&of_200), "{of_200} of 200");
    // Deployed again it has another share.
    server.deploy_canary("plain-p3", "50%").await;
    let of_200 = served_by_new(&server, 200).await;
    assert!((90..=110).contains(&of_200), "{of_200} of 200");
    assert_serves(&server.operate(&["promote", "app"]).await, 2);
    assert_eq!(served_by_new(&server, 20).await, 20);
    assert_refused(&server.operate(&["promote", "app"]).await, &["no canary", "--canary"]);
    // The one before is kept, as after any deploy.
    assert_serves(&server.roll_back().await, 3);
    assert_eq!(served_by_new(&server, 20).await, 0);
}

#[tokio::test]
async fn canary_serves_those_with_its_header() {
    let server = greeter().await;
    server.deploy_canary("plain-p3", "X-Beta: yes").await;
    for protocol in [H1, H2] {
        let mut client = KeptConnection::connect(protocol, server.address()).await;
        assert_eq!(client.ask(&beta("/", "yes")).await.expect(200), NEW);
        assert_eq!(client.ask(&beta("/", "no")).await.expect(200), OLD);
        assert_eq!(client.ask(&Request::get("/")).await.expect(200), OLD);
    }
    let generations = server.generations().await;
    let shown = |index: usize| (&generations[index]["state"], &generations[index]["canary"]);
    assert_eq!(shown(0), (&"canary".into(), &"x-beta: yes".into()));
    assert_eq!(shown(1), (&"current".into(), &serde_json::Value::Null));
    // The same without a share: for all.
    assert_serves(&server.deploy("plain-p3").await, 2);
    assert_eq!(served_by_new(&server, 5).await, 5);
}

#[tokio::test]
async fn polls_of_a_canary_that_is_aborted_are_told() {
    let server = Server::operated("component = '{longpoll}'\n").await;
    server.deploy_canary("longpoll-p2", "x-beta: yes").await;
    let waiting = server.park(H1, &Request::get("/poll/q?wait=60")).await;
    let other = server.park(H2, &beta("/poll/other?wait=60", "yes")).await;
    let output = server.operate(&["abort", "app"]).await;
    assert_eq!(text(&output.stdout), "app: generation 2 is discarded\n");
    other.answer().await.expect(204);
    // The current one has not noticed.
    server.send(H1, &Request::post("/push/q", "an event")).await.expect(202);
    assert_eq!(waiting.answer().await.expect(200), "an event");
    eventually("the canary has gone", async || {
        let generations = server.generations().await;
        let requests = &generations[0]["requests"];
        assert_eq!(generations[0]["state"], "refused");
        (requests["running"] == 0 && requests["ended"] == 1).then_some(())
    })
    .await;
    assert_refused(&server.operate(&["abort", "app"]).await, &["no canary"]);
}

#[tokio::test]
async fn canary_of_which_too_many_requests_fail_is_taken_back() {
    let server = Server::operated(
        "component = '{hello}'\nrollback = { window = '1m', max_failed = 0.1, min_requests = 5 }\n",
    )
    .await;
    server.deploy_canary("faulty", "50%").await;
    let mut failed = 0;
    let mut client = KeptConnection::connect(H1, server.address()).await;
    eventually("the canary is taken back", async || {
        failed += usize::from(client.ask(&Request::get("/panic")).await.status == 500);
        (server.generations().await[0]["state"] == "refused").then_some(())
    })
    .await;
    server.log.line(&["canary generation 2 is discarded", "requests failed"]).await;
    assert!((5..30).contains(&failed), "{failed}");
    for _ in 0..20 {
        assert_eq!(client.ask(&Request::get("/panic")).await.expect(200), OLD);
    }
}

#[tokio::test]
async fn deploy_for_all_ends_the_canary() {
    let server = greeter().await;
    server.deploy_canary("faulty", "50%").await;
    assert_serves(&server.deploy("plain-p3").await, 3);
    assert_eq!(served_by_new(&server, 20).await, 20);
    eventually("the canary has gone", async || {
        (server.generations().await[1]["state"] == "gone").then_some(())
    })
    .await;
    // So does a deploy of what serves the others,
    server.deploy_canary("faulty", "50%").await;
    let output = server.deploy("plain-p3").await;
    assert!(text(&output.stdout).contains("generation 3 already has this component"), "{output:?}");
    assert_eq!(served_by_new(&server, 20).await, 20);
    // and so does a rollback.
    server.deploy_canary("faulty", "50%").await;
    assert_serves(&server.roll_back().await, 6);
    assert_eq!(served_by_new(&server, 20).await, 0);
}

#[tokio::test]
async fn canary_is_tried_like_any_other() {
    let server = Server::operated("component = '{hello}'\nprobe = { path = '/panic' }\n").await;
    assert_refused(&server.deploy_canary("faulty", "1%").await, &["the probe failed", "the guest trapped"]);
    assert_eq!(server.generations().await[0]["state"], "refused");
    let folder = tempfile::tempdir().unwrap();
    let garbage = file(&folder, "garbage.wasm", "no component");
    let arguments = ["deploy", garbage.to_str().unwrap(), "--app", "app", "--canary", "1%"];
    assert_refused(&server.operate(&arguments).await, &["not a WebAssembly component"]);
}

#[tokio::test]
async fn share_that_is_none_is_refused_with_the_remedy() {
    let server = greeter().await;
    for (share, reason) in [("100%", "less than 100%"), ("half", "`10%`"), ("x y: 1", "`x-beta: 1`")] {
        let output = server.deploy_canary("plain-p3", share).await;
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(reason), "{output:?}");
    }
    // Who sends the header without the command line is told the same.
    let admin = Server::with_config(&format!("{ADMIN_TCP}[apps.app]\ncomponent = '{{hello}}'\n")).await;
    let address = admin.admin_address().await;
    let component = std::fs::read(component("plain-p3")).unwrap();
    let put = Request { body: component.into(), ..Request::new(http::Method::PUT, "/apps/app") };
    let put = put.host("localhost").header("linger-canary", "1000%");
    let answer = KeptConnection::connect(H1, address).await.ask(&put).await;
    assert!(answer.expect(400).contains("less than 100%"));
}
