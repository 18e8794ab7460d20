//! Metrics: what operators are told of requests, events and limits.

use std::collections::HashMap;

use crate::harness::{
    ADMIN_TCP, ClientLeave, H1, H2, KeptConnection, Protocol, Request, Server, component, eventually,
    write_config,
};

/// Serves with an admin listener on TCP.
async fn serve(config: &str) -> (Server, KeptConnection) {
    let server = Server::with_config(&format!("{ADMIN_TCP}{config}")).await;
    let client = admin_client(&server).await;
    (server, client)
}

async fn admin_client(server: &Server) -> KeptConnection {
    KeptConnection::connect(H1, server.admin_address().await).await
}

fn get(path: &str) -> Request {
    Request::get(path).host("localhost")
}

/// Each line of the metrics, by its name and labels.
async fn metrics(admin: &mut KeptConnection) -> HashMap<String, f64> {
    let answer = admin.ask(&get("/metrics")).await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let lines = answer.expect(200).lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.rsplit_once(' ').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// Waits until a metric has a value.
async fn counts(admin: &mut KeptConnection, name: &str, value: f64) {
    eventually(name, async || (metrics(admin).await.get(name) == Some(&value)).then_some(())).await;
}

#[tokio::test]
async fn requests_are_counted_by_how_they_ended() {
    let (server, mut admin) = serve("[apps.app]\ncomponent = '{longpoll}'\n").await;
    server.send(H1, &Request::post("/push/q", "an event")).await.expect(202);
    server.get("/poll/q?wait=5").await.expect(200);
    let waiting = server.park(H2, &Request::get("/poll/q?wait=60")).await;
    counts(&mut admin, "http_server_active_requests{app=\"app\"}", 1.0).await;
    counts(&mut admin, "linger_parked{place=\"queues\"}", 1.0).await;
    let _connection = waiting.leave(ClientLeave::Reset).await;
    for (name, value) in [
        ("linger_requests_total{app=\"app\",outcome=\"lost\",reason=\"reset\"}", 1.0),
        ("linger_cancellation_seconds_count{app=\"app\",reason=\"reset\"}", 1.0),
        ("linger_stop_seconds_count{app=\"app\",reason=\"reset\"}", 1.0),
        ("linger_parked{place=\"queues\"}", 0.0),
        ("linger_event_fates_total{fate=\"pushed\"}", 1.0),
        ("linger_event_fates_total{fate=\"committed\"}", 1.0),
        ("linger_receipts_total{app=\"app\",receipt=\"read\"}", 1.0),
        ("linger_generation{app=\"app\"}", 1.0),
    ] {
        counts(&mut admin, name, value).await;
    }
    let all = metrics(&mut admin).await;
    assert!(all["linger_instances{app=\"app\"}"] >= 1.0);
    let duration = "http_server_request_duration_seconds_count{app=\"app\",http_request_method=\"POST\",http_response_status_code=\"202\"}";
    assert_eq!(all.get(duration), Some(&1.0), "{all:?}");
    assert!(all["process_resident_memory_bytes"] > 1e6 && all["process_open_fds"] > 3.0);
}

#[tokio::test]
async fn failures_limits_and_deploys_are_counted() {
    let config = "[apps.app]\ncomponent = '{faulty}'\nmax_requests = 1\n";
    let (server, mut admin) = serve(config).await;
    server.get("/panic").await.expect(500);
    server.get("/no-response").await.expect(500);
    let waiting = server.open(H1, &Request::get("/hang")).await;
    counts(&mut admin, "http_server_active_requests{app=\"app\"}", 1.0).await;
    server.get("/ok").await.expect(503);
    drop(waiting);
    for (name, value) in [
        ("linger_traps_total{app=\"app\"}", 2.0),
        ("linger_request_retries_total{app=\"app\"}", 1.0),
        ("linger_request_failures_total{app=\"app\",failure=\"trapped\"}", 1.0),
        ("linger_request_failures_total{app=\"app\",failure=\"no-answer\"}", 1.0),
        ("linger_limits_reached_total{app=\"app\",limit=\"apps.max_requests\"}", 1.0),
    ] {
        counts(&mut admin, name, value).await;
    }
    let put = |body: Vec<u8>| {
        Request { body: body.into(), ..Request::new(http::Method::PUT, "/apps/app") }.host("localhost")
    };
    admin.ask(&put(b"no component".to_vec())).await.expect(422);
    admin.ask(&put(std::fs::read(component("hello")).unwrap())).await.expect(200);
    counts(&mut admin, "linger_deploys_total{app=\"app\",result=\"refused\"}", 1.0).await;
    counts(&mut admin, "linger_deploys_total{app=\"app\",result=\"served\"}", 1.0).await;
    counts(&mut admin, "linger_generation{app=\"app\"}", 3.0).await;
    let roll_back = Request::post("/apps/app/rollback", "").host("localhost");
    admin.ask(&roll_back).await.expect(200);
    counts(&mut admin, "linger_deploys_total{app=\"app\",result=\"rolled-back\"}", 1.0).await;
}

/// Pushes and polls on a connection that is kept, one after the other.
async fn push_and_poll(server: &Server, protocol: Protocol, client: u32, times: u32) {
    let mut kept = KeptConnection::connect(protocol, server.address()).await;
    for number in 0..times {
        let event = format!("{client}-{number}");
        kept.ask(&Request::post(&format!("/push/q{client}"), event.clone())).await.expect(202);
        let answer = kept.ask(&Request::get(&format!("/poll/q{client}?wait=5"))).await;
        assert_eq!(answer.expect(200), event);
    }
}

#[tokio::test]
async fn counts_are_exactly_what_a_load_did() {
    const CLIENTS: u32 = 8;
    const TIMES: u32 = 50;
    const LEAVE: u32 = 10;
    let (server, mut admin) = serve("[apps.app]\ncomponent = '{longpoll}'\n").await;
    let before = metrics(&mut admin).await["linger_connections_accepted_total"];
    let clients = (0..CLIENTS)
        .map(|client| push_and_poll(&server, if client % 2 == 0 { H1 } else { H2 }, client, TIMES));
    futures::future::join_all(clients).await;
    for number in 0..LEAVE {
        let waiting = server.open(H1, &Request::get("/poll/none?wait=60")).await;
        // Only a request that a guest has is one whose stop is counted.
        counts(&mut admin, "linger_parked{place=\"queues\"}", 1.0).await;
        drop(waiting.leave(ClientLeave::Reset).await);
        let lost = "linger_requests_total{app=\"app\",outcome=\"lost\",reason=\"reset\"}";
        counts(&mut admin, lost, f64::from(number + 1)).await;
        counts(&mut admin, "linger_parked{place=\"queues\"}", 0.0).await;
    }
    let all = f64::from(CLIENTS * TIMES);
    for (name, value) in [
        ("linger_event_fates_total{fate=\"committed\"}", all),
        ("linger_event_fates_total{fate=\"pushed\"}", all),
        ("linger_event_fates_total{fate=\"taken\"}", all),
        ("linger_event_fates_total{fate=\"returned\"}", 0.0),
        ("linger_requests_total{app=\"app\",outcome=\"delivered\",reason=\"none\"}", 2.0 * all),
        ("linger_requests_total{app=\"app\",outcome=\"lost\",reason=\"reset\"}", f64::from(LEAVE)),
        ("linger_stop_seconds_count{app=\"app\",reason=\"reset\"}", f64::from(LEAVE)),
        ("linger_connections_accepted_total", before + f64::from(CLIENTS + LEAVE)),
    ] {
        counts(&mut admin, name, value).await;
    }
    for (family, value) in [
        ("linger_receipts_total", all),
        ("linger_requests_total", 2.0 * all + f64::from(LEAVE)),
        ("http_server_request_duration_seconds_count", 2.0 * all),
    ] {
        sums_up(&mut admin, family, value).await;
    }
}

/// Waits until all of a family together have a value.
async fn sums_up(admin: &mut KeptConnection, family: &str, value: f64) {
    eventually(family, async || {
        let counted = metrics(admin).await;
        let of_family = counted.iter().filter(|(name, _)| name.starts_with(family));
        // Whole numbers.
        ((of_family.map(|(_, value)| value).sum::<f64>() - value).abs() < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn reloads_are_counted_by_what_became_of_them() {
    let (server, mut admin) = serve("[apps.app]\ncomponent = '{hello}'\n").await;
    let reload = Request::post("/reload", "").host("localhost");
    admin.ask(&reload).await.expect(200);
    write_config(server.folder(), "lisen = 'x'\n");
    admin.ask(&reload).await.expect(422);
    counts(&mut admin, "linger_reloads_total{app=\"\",result=\"done\"}", 1.0).await;
    counts(&mut admin, "linger_reloads_total{app=\"\",result=\"refused\"}", 1.0).await;
}

#[tokio::test]
async fn instances_are_ready_before_they_are_wanted() {
    let limits = "instances.ready = 3\ninstances.max = 5\n";
    let app = format!("[apps.app]\ncomponent = '{{witness-p2}}'\n{limits}");
    let server = Server::with_config(&format!("threads = 1\n{ADMIN_TCP}{app}")).await;
    let mut admin = admin_client(&server).await;
    for number in 1..=4 {
        server.get("/instance").await.expect(200);
        counts(&mut admin, "linger_instances{app=\"app\"}", 3.0).await;
        counts(&mut admin, "linger_instances_started_total{app=\"app\"}", f64::from(3 + number)).await;
    }
}

#[tokio::test]
async fn what_clients_choose_makes_no_new_series() {
    let (server, mut admin) = serve("[apps.app]\ncomponent = '{hello}'\n").await;
    server.get("/").await.expect(200);
    let answered = "http_server_request_duration_seconds_count{app=\"app\",http_request_method=\"GET\",http_response_status_code=\"200\"}";
    counts(&mut admin, answered, 1.0).await;
    let before = metrics(&mut admin).await.len();
    for number in 0..50 {
        let method = format!("M{number}").parse().unwrap();
        server.send(H1, &Request::new(method, &format!("/{number}"))).await;
    }
    let after = metrics(&mut admin).await.len();
    // One for all methods that are not known, with its buckets.
    assert!(after <= before + 17, "{before} {after}");
}

#[tokio::test]
async fn server_that_drains_is_not_ready() {
    let config = "shutdown_timeout = '20s'\n";
    let server = Server::with_config(&format!(
        "{config}{ADMIN_TCP}[apps.app]\ncomponent = '{{plain-wait}}'\n[[routes]]\napp = 'app'\ngrace = '15s'\n"
    ))
    .await;
    let mut admin = admin_client(&server).await;
    admin.ask(&get("/livez")).await.expect(200);
    admin.ask(&get("/readyz")).await.expect(200);
    let _waiting = server.open(H1, &Request::get("/wait")).await;
    counts(&mut admin, "http_server_active_requests{app=\"app\"}", 1.0).await;
    server.signal(rustix::process::Signal::TERM);
    eventually("it is not ready", async || (admin.ask(&get("/readyz")).await.status == 503).then_some(()))
        .await;
    admin.ask(&get("/livez")).await.expect(200);
    assert!(admin.ask(&get("/apps")).await.expect(503).contains("the server is shutting down"));
}

#[tokio::test]
async fn requests_in_progress_are_listed() {
    let (server, mut admin) = serve("[apps.app]\ncomponent = '{longpoll}'\n").await;
    let _waiting = [
        server.park(H1, &Request::get("/poll/q?wait=60")).await,
        server.park(H2, &Request::get("/poll/q?wait=60")).await,
    ];
    // Others were answered, and may be there until that is noticed to have left.
    let shown = eventually("no others", async || {
        let answer = admin.ask(&get("/requests?limit=1")).await;
        let shown: serde_json::Value = serde_json::from_str(answer.expect(200)).unwrap();
        (shown["total"] == 2).then_some(shown)
    })
    .await;
    let request = &shown["requests"][0];
    assert_eq!(shown["requests"].as_array().unwrap().len(), 1);
    assert_eq!((&request["app"], &request["generation"]), (&"app".into(), &1.into()));
    assert_eq!((&request["method"], &request["state"]), (&"GET".into(), &"waiting".into()));
    assert!(request["uri"].as_str().unwrap().ends_with("/poll/q?wait=60"), "{shown}");
    assert!(request["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{shown}");
    admin.ask(&get("/requests?limit=0")).await.expect(400);
}

#[tokio::test]
async fn queues_and_topics_can_be_seen_and_used() {
    let (server, mut admin) = serve("[apps.app]\ncomponent = '{longpoll}'\n").await;
    let post = |path: &str, body: &str| Request::post(path, body.to_owned()).host("localhost");
    let pushed = admin.ask(&post("/queues/q", "one").header("content-type", "text/x")).await;
    assert!(pushed.expect(201).contains("\"id\""));
    admin.ask(&post("/queues/q?delay=1h", "later")).await.expect(201);
    let queues = admin.ask(&get("/queues")).await;
    let queues: serde_json::Value = serde_json::from_str(queues.expect(200)).unwrap();
    assert_eq!((&queues["queues"][0]["ready"], &queues["queues"][0]["delayed"]), (&1.into(), &1.into()));
    assert_eq!(queues["queues"][0]["dead_letters"], serde_json::Value::Null);
    let peeked = admin.ask(&post("/queues/q/take?peek=true", "")).await;
    assert_eq!((peeked.expect(200), peeked.header("content-type")), ("one", Some("text/x")));
    // A guest gets it, and what it pushes is taken here.
    assert_eq!(server.get("/poll/q?wait=5").await.expect(200), "one");
    server.send(H1, &Request::post("/push/q", "two")).await.expect(202);
    assert_eq!(admin.ask(&post("/queues/q/take", "")).await.expect(200), "two");
    admin.ask(&post("/queues/q/take", "")).await.expect(404);
    let purge = Request::new(http::Method::DELETE, "/queues/q").host("localhost");
    assert!(admin.ask(&purge).await.expect(200).contains("\"purged\":1"));
    assert_eq!(admin.ask(&get("/queues")).await.expect(200), "{\"queues\":[]}\n");
    assert!(admin.ask(&post("/topics/t", "news")).await.expect(201).contains("\"cursor\""));
    let topics = admin.ask(&get("/topics")).await;
    assert!(topics.expect(200).contains("\"events\":1"));
    for (path, status) in
        [("/queues/*", 400), ("/queues/q?delay=soon", 400), ("/nothing", 404), ("/apps", 405)]
    {
        admin.ask(&post(path, "")).await.expect(status);
    }
}

#[tokio::test]
async fn every_documented_request_is_known() {
    let (_server, mut admin) = serve("[apps.app]\ncomponent = '{hello}'\n").await;
    let document = admin.ask(&get("/openapi.json")).await;
    let document: serde_json::Value = serde_json::from_str(document.expect(200)).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let target = path.replace("{app}", "other").replace("{queue}", "q").replace("{topic}", "t");
        for (method, operation) in methods.as_object().unwrap() {
            // One that ends by itself; tests/follow.rs has the other.
            if !operation["responses"]["200"]["content"]["text/event-stream"].is_null() {
                continue;
            }
            let method = method.to_ascii_uppercase().parse().unwrap();
            let answer = admin.ask(&Request::new(method, &target).host("localhost")).await;
            let documented = operation["responses"].as_object().unwrap();
            assert!(documented.contains_key(answer.status.as_str()), "{path}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn health_needs_no_token_and_all_else_does() {
    let admin = format!("{ADMIN_TCP}token = '0123456789abcdef'\n");
    let server = Server::with_config(&format!("{admin}[apps.app]\ncomponent = '{{hello}}'\n")).await;
    let mut admin = admin_client(&server).await;
    admin.ask(&get("/livez")).await.expect(200);
    admin.ask(&get("/readyz")).await.expect(200);
    for path in ["/metrics", "/apps", "/requests", "/queues", "/topics", "/openapi.json", "/nothing"] {
        admin.ask(&get(path)).await.expect(401);
    }
    let with_token = get("/metrics").header("authorization", "Bearer 0123456789abcdef");
    admin.ask(&with_token).await.expect(200);
}
