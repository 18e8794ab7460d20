//! `linger push`, `take`, `publish` and `queues`: a store's directory while no host runs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::harness::{Http1, Request, Server, assert_refused, linger, text};

struct OfflineStore(TempDir);

impl OfflineStore {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        linger(&[&arguments, &[OsStr::new("--store"), self.path().as_os_str()][..]].concat())
    }

    /// What a command prints that succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    }

    async fn serve(&self) -> Server {
        Server::with_config(&format!(
            "[events]\nstore = 'disk'\ndirectory = '{}'\n[apps.app]\ncomponent = '{{longpoll}}'\n",
            self.path().display()
        ))
        .await
    }
}

/// A file with an event, in a folder of its own.
fn file(data: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("event");
    std::fs::write(&file, data).unwrap();
    let name = file.to_str().unwrap().to_owned();
    (folder, name)
}

#[tokio::test]
async fn what_was_pushed_offline_is_served() {
    let store = OfflineStore::new();
    let (_folder, one) = file("one");
    let id = store.says(&["push", "q", &one, "--content-type", "text/plain"]);
    let cursor = store.says(&["publish", "t", &one]);
    // Standard input is empty here.
    store.says(&["push", "q", "--ttl", "1h"]);
    let server = store.serve().await;
    let answer = server.get("/poll/q").await;
    assert_eq!((answer.expect(200), answer.header("content-type")), ("one", Some("text/plain")));
    assert_eq!(answer.header("event-id"), Some(id.trim_end()));
    assert_eq!(server.get("/poll/q").await.expect(200), "");
    let answer = server.get("/follow/t").await;
    assert_eq!((answer.expect(200), answer.header("event-cursor")), ("one", Some(cursor.trim_end())));
    assert_refused(&store.run(&["queues"]), &["in use by another process"]);
}

#[test]
fn event_is_taken_once_and_peeked_at_often() {
    let store = OfflineStore::new();
    let (_folder, event) = file("one");
    store.says(&["push", "q", &event]);
    for _ in 0..2 {
        assert_eq!(store.says(&["take", "q", "--peek"]), "one");
    }
    let taken = store.run(&["take", "q"]);
    assert_eq!((text(&taken.stdout), taken.status.code()), ("one", Some(0)));
    assert!(text(&taken.stderr).contains("application/octet-stream, attempt "), "{}", text(&taken.stderr));
    let none = store.run(&["take", "q"]);
    assert_eq!((text(&none.stdout), none.status.code()), ("", Some(1)));
    assert_eq!(text(&none.stderr), "queue q: no event is available\n");
}

#[test]
fn delayed_event_cannot_be_taken_yet() {
    let store = OfflineStore::new();
    store.says(&["push", "q", "--delay", "1h"]);
    assert_eq!(store.run(&["take", "q"]).status.code(), Some(1));
    assert_eq!(store.says(&["queues"]).lines().count(), 2);
}

#[test]
fn queues_and_topics_are_listed() {
    let store = OfflineStore::new();
    let (_folder, event) = file(&"x".repeat(2048));
    for queue in ["orders", "orders", "b"] {
        store.says(&["push", queue, &event]);
    }
    store.says(&["publish", "news", &event]);
    let expected = "KIND   NAME       EVENTS        SIZE\n\
                    queue  b               1     2.0 KiB\n\
                    queue  orders          2     4.0 KiB\n\
                    topic  news            1     2.0 KiB\n";
    assert_eq!(store.says(&["queues"]), expected);
    let json: serde_json::Value = serde_json::from_str(&store.says(&["queues", "--json"])).unwrap();
    assert_eq!(json["queues"][1]["events"], 2);
    assert_eq!(json["topics"][0]["bytes"], 2048);
}

#[tokio::test]
async fn commands_drop_nothing_that_the_host_keeps() {
    let store = OfflineStore::new();
    let server = Server::with_config(&format!(
        "[events]\nstore = 'disk'\ndirectory = '{}'\ndurability = 'buffered'\n\
         [topics]\nkeep_events = 20_000\n[apps.app]\ncomponent = '{{longpoll}}'\n",
        store.path().display()
    ))
    .await;
    let mut client = Http1::connect(server.address()).await;
    for _ in 0..10_050 {
        client.ask(&Request::post("/publish/t", "x")).await.expect(202);
    }
    drop(server);
    store.says(&["push", "q"]);
    let json: serde_json::Value = serde_json::from_str(&store.says(&["queues", "--json"])).unwrap();
    assert_eq!(json["topics"][0]["events"], 10_050);
}

#[test]
fn mistakes_are_refused_in_one_line() {
    let store = OfflineStore::new();
    let (_folder, large) = file(&"x".repeat(64 * 1024 * 1024 + 1));
    assert_refused(&store.run(&["push", "q", &large]), &["the event is larger than 67108864 bytes"]);
    assert_refused(
        &store.run(&["push", "q", "/no/such/file"]),
        &["give the path of a file with the event's bytes"],
    );
    let none = OfflineStore::new();
    assert_refused(&none.run(&["take", "q"]), &["is not a store of Linger"]);
    assert_refused(&none.run(&["queues"]), &["is not a store of Linger"]);
    for arguments in
        [&["push", "a b"][..], &["push", "q", "--delay", "1"], &["push", "q", "--content-type", "\n"]]
    {
        let output = store.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
