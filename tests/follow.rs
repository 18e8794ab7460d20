//! What happens, as it happens: the stream of the admin listener, and the command that reads it.

use std::process::Stdio;

use serde_json::Value;

use crate::harness::{ADMIN_TCP, H1, Http1, KeptConnection, Request, Server, command, eventually};

async fn serve(component: &str) -> Server {
    Server::with_config(&format!("{ADMIN_TCP}[apps.app]\ncomponent = '{{{component}}}'\n")).await
}

/// One who follows, from the moment on that this returns.
struct Follower {
    connection: Http1,
    rest: String,
}

impl Follower {
    async fn new(server: &Server, query: &str) -> Self {
        let request = Request::get(&format!("/stream{query}")).host("localhost");
        let mut connection = Http1::open(server.admin_address().await, &request).await;
        let head = connection.head().await;
        assert_eq!((head.status.as_u16(), head.header("content-type")), (200, Some("text/event-stream")));
        Self { connection, rest: String::new() }
    }

    /// The next event, and what it has.
    async fn next(&mut self) -> (String, Value) {
        loop {
            if let Some(end) = self.rest.find("\n\n") {
                let event: String = self.rest.drain(..end + 2).collect();
                let (name, data) = event.split_once('\n').unwrap();
                let name = name.strip_prefix("event: ").unwrap().to_owned();
                let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                return (name, data);
            }
            let bytes = self.connection.chunk().await.unwrap().expect("the stream goes on");
            self.rest += std::str::from_utf8(&bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn each_request_and_each_change_is_told_to_those_who_follow() {
    let server = serve("hello").await;
    let mut follower = Follower::new(&server, "").await;
    let mut warned = Follower::new(&server, "?log=warn").await;
    server.get("/").await.expect(200);
    let (name, told) = follower.next().await;
    assert_eq!(name, "request");
    assert_eq!((&told["app"], &told["level"]), (&"app".into(), &"DEBUG".into()));
    assert!(told["message"].as_str().unwrap().starts_with("GET / 200"), "{told}");
    // The log itself has no line of it.
    assert!(!server.log.text().contains("GET / 200"));
    let mut admin = KeptConnection::connect(H1, server.admin_address().await).await;
    admin.ask(&Request::post("/queues/q", "x").host("localhost")).await.expect(201);
    admin.ask(&Request::new(http::Method::DELETE, "/queues/q").host("localhost")).await.expect(200);
    let (name, told) = follower.next().await;
    assert_eq!(name, "log");
    assert!(told["message"].as_str().unwrap().contains("purged 1 events"), "{told}");
    // Who wants warnings hears of the first thing that is one.
    let refused = Request::new(http::Method::PUT, "/apps/app").host("localhost");
    assert!(admin.ask(&refused).await.status.is_client_error());
    let (_, told) = warned.next().await;
    assert!(matches!(told["level"].as_str(), Some("WARN" | "ERROR")), "{told}");
}

#[tokio::test]
async fn one_who_is_slow_is_told_what_it_has_missed_and_delays_nobody() {
    let server = serve("hello").await;
    let mut slow = Follower::new(&server, "").await;
    let mut client = Http1::connect(server.address()).await;
    // More than its socket and the lines that are kept for it hold.
    for _ in 0..40_000 {
        client.ask(&Request::get("/")).await.expect(200);
    }
    loop {
        let (name, told) = slow.next().await;
        if name == "missed" {
            assert!(told["missed"].as_u64().unwrap() > 0);
            break;
        }
    }
}

#[tokio::test]
async fn followers_are_bounded_and_levels_checked() {
    let server = serve("hello").await;
    let mut all = Vec::new();
    for _ in 0..16 {
        all.push(Follower::new(&server, "").await);
    }
    let address = server.admin_address().await;
    let ask = async |target: &str| {
        KeptConnection::connect(H1, address).await.ask(&Request::get(target).host("localhost")).await
    };
    ask("/stream").await.expect(503);
    all.truncate(15);
    eventually("there is a place again", async || {
        (ask("/stream?log=nonsense").await.status == 400).then_some(())
    })
    .await;
}

#[tokio::test]
async fn command_prints_an_object_a_line() {
    let server = serve("hello").await;
    let mut following = command();
    following.args(["log", "--follow", "--admin", &server.admin_address().await.to_string()]);
    let mut child = following.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    let line = tokio::task::spawn_blocking(|| {
        use std::io::BufRead as _;
        std::io::BufReader::new(out).lines().next().unwrap().unwrap()
    });
    // From some moment on it is there.
    let line = async {
        tokio::pin!(line);
        loop {
            tokio::select! {
                line = &mut line => break line.unwrap(),
                answer = server.get("/") => drop(answer.expect(200)),
            }
        }
    }
    .await;
    drop(child.kill());
    drop(child.wait());
    let told: Value = serde_json::from_str(&line).unwrap();
    assert!(told["message"].as_str().unwrap().starts_with("GET / 200"), "{told}");
}
