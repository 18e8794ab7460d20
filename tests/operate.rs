//! The commands for operators, beside deploys and reloads: `status`, `push`, `take`, `publish` and `queues` of a server that runs.

use crate::cli::file;
use crate::harness::{H1, Request, Server, assert_refused, assert_serves, text};

async fn says(server: &Server, arguments: &[&str]) -> String {
    let output = server.operate(arguments).await;
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).to_owned()
}

#[tokio::test]
async fn events_go_to_a_server_that_runs_and_come_from_it() {
    let server = Server::operated("component = '{longpoll}'\n").await;
    let folder = tempfile::tempdir().unwrap();
    let event = file(&folder, "event", "an event");
    let event = event.to_str().unwrap();
    let id = says(&server, &["push", "q", event, "--content-type", "text/x", "--ttl", "1h"]).await;
    let answer = server.get("/poll/q?wait=5").await;
    assert_eq!((answer.expect(200), answer.header("event-id")), ("an event", Some(id.trim())));
    says(&server, &["push", "later", event, "--delay", "1h"]).await;
    assert_eq!(server.operate(&["take", "later"]).await.status.code(), Some(1));
    server.send(H1, &Request::post("/push/q", "another")).await.expect(202);
    for _ in 0..2 {
        assert_eq!(says(&server, &["take", "q", "--peek"]).await, "another");
    }
    let taken = server.operate(&["take", "q"]).await;
    assert_eq!(text(&taken.stdout), "another");
    assert!(text(&taken.stderr).contains("attempt 1"), "{taken:?}");
    assert_eq!(server.operate(&["take", "q"]).await.status.code(), Some(1));
    says(&server, &["publish", "t", event]).await;
    let queues = says(&server, &["queues"]).await;
    let lines: Vec<_> =
        queues.lines().map(|line| line.split_whitespace().take(3).collect::<Vec<_>>()).collect();
    assert_eq!(lines[1..], [["queue", "later", "1"], ["topic", "t", "1"]]);
    let refused = server.operate(&["push", "*", event]).await;
    assert!(!refused.status.success() && text(&refused.stderr).contains("letters"), "{refused:?}");
}

#[tokio::test]
async fn status_says_what_serves() {
    let server = Server::operated("component = '{hello}'\n").await;
    server.get("/").await.expect(200);
    assert_serves(&server.deploy("plain-p3").await, 2);
    let status = says(&server, &["status"]).await;
    let has = |words: &[&str]| status.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["app:", "0 requests in-flight"]), "{status}");
    assert!(
        has(&["2", "current", "plain-p3.wasm"]) && has(&["1", "previous", "1 ended, 0 failed"]),
        "{status}"
    );
    let json: serde_json::Value = serde_json::from_str(&says(&server, &["status", "--json"]).await).unwrap();
    assert_eq!(json["apps"][0]["generations"][0]["state"], "current");
}

#[tokio::test]
async fn log_changes_while_the_server_runs() {
    let server = Server::operated("component = '{hello}'\n").await;
    server.get("/").await.expect(200);
    assert!(!server.log.text().contains("delivered"));
    let output = says(&server, &["log", "info,linger::access=debug"]).await;
    assert_eq!(output, "info,linger::access=debug\n");
    let answer = server.get("/").await;
    let request = format!("request={}", answer.header("x-request-id").unwrap());
    server
        .log
        .line(&["GET", "200: delivered", "generation=1", "bytes=14", "queued_us=", "guest_us=", &request])
        .await;
    assert_eq!(says(&server, &["log"]).await, output);
    for wrong in ["linger=loud", "inof"] {
        assert_refused(&server.operate(&["log", wrong]).await, &[wrong, "debug"]);
    }
}

#[tokio::test]
async fn log_is_of_json_where_nobody_reads_it() {
    let server = Server::with_json_log("[apps.app]\ncomponent = '{hello}'\n").await;
    server.get("/").await.expect(200);
    let line = server.log.line(&["200: delivered"]).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["app"], &line["generation"], &line["bytes"]), (&"app".into(), &1.into(), &14.into()));
}
