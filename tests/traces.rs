//! Traces: what a collector is told of requests, and what guests are told of their traces.

use rustix::process::Signal;

use crate::harness::{
    ADMIN, ADMIN_TCP, Certificate, ClientLeave, Collector, H1, H2, KeptConnection, Protocol, Request, SILENT,
    Server, Span, assert_refused, both, crossed, eventually, serve_in_vain, write_config,
};

crossed!("longpoll", "longpoll-p2":
    parked_poll_has_a_span_for_each_part,
    client_that_leaves_is_in_its_span,
);

both!("longpoll", "longpoll-p2":
    follower_waits_at_its_topic,
);

both!("probe", "probe-p2":
    request_of_a_guest_is_of_the_same_trace,
);

/// A trace that began elsewhere.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn app(component: &str) -> String {
    format!("[apps.app]\ncomponent = '{{{component}}}'\n")
}

/// Serves with an admin listener.
async fn serve(config: &str) -> (Server, KeptConnection) {
    let server = Server::with_config(&format!("{ADMIN_TCP}{config}")).await;
    let admin = KeptConnection::connect(H1, server.admin_address().await).await;
    (server, admin)
}

/// Waits until a metric has a value that fits.
async fn counts(admin: &mut KeptConnection, name: &str, fits: impl Fn(u64) -> bool) {
    eventually(name, async || {
        let metrics = admin.ask(&Request::get("/metrics").host("localhost")).await;
        let value = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.filter(|&value| fits(value)).map(drop)
    })
    .await;
}

async fn is_parked(admin: &mut KeptConnection, place: &str) {
    counts(admin, &format!("linger_parked{{place=\"{place}\"}}"), |parked| parked == 1).await;
}

#[track_caller]
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

#[track_caller]
fn assert_within(inner: &Span, outer: &Span) {
    assert!(outer.began <= inner.began && inner.ended <= outer.ended, "{inner:?} {outer:?}");
    assert!(inner.began <= inner.ended, "{inner:?}");
}

async fn parked_poll_has_a_span_for_each_part(longpoll: &str, protocol: Protocol) {
    let collector = Collector::start();
    let config = format!("{}{}[[routes]]\napp = 'app'\npath = '/poll'\n", collector.table(""), app(longpoll));
    let (server, mut admin) = serve(&format!("{config}[[routes]]\napp = 'app'\npath = '/push'\n")).await;
    let poll = Request::get("/poll/q?wait=60&secret=x").header("user-agent", "test");
    let waiting = server.open(protocol, &poll).await;
    is_parked(&mut admin, "queues").await;
    server.send(H1, &Request::post("/push/q", "an event")).await.expect(202);
    assert_eq!(waiting.answer().await.expect(200), "an event");

    let (request, parts) = collector.request("/poll/q").await;
    assert!(request.is_server && !request.is_error, "{request:?}");
    assert_eq!((request.name.as_str(), request.parent.as_str()), ("GET /poll", ""));
    let version = if protocol == H1 { "1.1" } else { "2" };
    for (attribute, value) in [
        ("service.name", "linger"),
        ("http.request.method", "GET"),
        ("http.route", "/poll"),
        ("http.response.status_code", "200"),
        ("http.response.body.size", "8"),
        ("url.scheme", "http"),
        ("server.address", "test.example"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", version),
        ("user_agent.original", "test"),
        ("linger.app", "app"),
        ("linger.generation", "1"),
        ("linger.outcome", "delivered"),
    ] {
        assert_eq!(request.get(attribute), value, "{attribute}");
    }
    assert!(!format!("{request:?}").contains("secret"), "{request:?}");
    assert_eq!((request.find("linger.reason"), request.find("error.type")), (None, None));

    let mut names: Vec<_> = parts.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["guest", "queue", "receipt", "wait"]);
    let (guest, wait, receipt) = (named(&parts, "guest"), named(&parts, "wait"), named(&parts, "receipt"));
    for part in &parts {
        assert_eq!(part.trace, request.trace);
        let parent = if part.name == "wait" { &guest.id } else { &request.id };
        assert_eq!(&part.parent, parent, "{part:?}");
    }
    assert_within(named(&parts, "queue"), &request);
    assert_within(guest, &request);
    assert_within(wait, guest);
    assert_eq!(named(&parts, "queue").ended, guest.began);
    assert_eq!(
        (receipt.began, receipt.get("linger.receipt")),
        (request.ended, request.get("linger.receipt"))
    );
    assert_eq!((wait.get("linger.queue"), wait.get("linger.arrived")), ("q", "true"));
    assert_eq!(guest.events, ["head"]);
}

async fn client_that_leaves_is_in_its_span(longpoll: &str, protocol: Protocol) {
    let collector = Collector::start();
    let (server, mut admin) = serve(&format!("{}{}", collector.table(""), app(longpoll))).await;
    let waiting = server.open(protocol, &Request::get("/poll/q?wait=60")).await;
    is_parked(&mut admin, "queues").await;
    let _connection = waiting.leave(ClientLeave::Reset).await;
    let (request, parts) = collector.request("/poll/q").await;
    assert_eq!((request.get("linger.outcome"), request.get("linger.reason")), ("lost", "reset"));
    assert_eq!(request.find("http.response.status_code"), None);
    assert!(!request.is_error, "{request:?}");
    assert_eq!(named(&parts, "wait").get("linger.arrived"), "false");
    assert!(parts.iter().all(|span| span.name != "receipt"), "{parts:?}");
}

async fn follower_waits_at_its_topic(longpoll: &str) {
    let collector = Collector::start();
    let (server, mut admin) = serve(&format!("{}{}", collector.table(""), app(longpoll))).await;
    let waiting = server.open(H1, &Request::get("/follow/t?wait=60")).await;
    is_parked(&mut admin, "topics").await;
    server.send(H1, &Request::post("/publish/t", "an event")).await.expect(202);
    assert_eq!(waiting.answer().await.expect(200), "an event");
    let (_, parts) = collector.request("/follow/t").await;
    let wait = named(&parts, "wait");
    assert_eq!((wait.get("linger.topic"), wait.get("linger.arrived")), ("t", "true"));
}

/// The header of a request that the guest got.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn trace_that_began_elsewhere_goes_on_in_the_guest() {
    let collector = Collector::start();
    // Only those that are recorded elsewhere are recorded.
    let server = Server::with_config(&format!("{}{}", collector.table("ratio = 0\n"), app("probe"))).await;
    let head = |flags: &str| {
        let parent = format!("00-{TRACE}-{PARENT}-{flags}");
        Request::get("/head").header("traceparent", &parent).header("tracestate", "a=b")
    };
    for protocol in [H1, H2] {
        let unrecorded = server.send(protocol, &head("00")).await;
        let seen = header(unrecorded.expect(200), "traceparent").unwrap().to_owned();
        let seen: Vec<_> = seen.split('-').collect();
        assert_eq!((seen[1], seen[3]), (TRACE, "00"));
        assert_ne!(seen[2], PARENT);
        server.get("/head").await.expect(200);
    }
    let recorded = server.send(H1, &head("01")).await;
    let (request, _) = collector.request("/head").await;
    assert_eq!((&*request.trace, &*request.parent, &*request.state), (TRACE, PARENT, "a=b"));
    let seen = recorded.expect(200);
    let expected = format!("00-{TRACE}-{}-01", request.id);
    assert_eq!((header(seen, "traceparent"), header(seen, "tracestate")), (Some(&*expected), Some("a=b")));
    // What was not to be recorded would have come before.
    assert_eq!(collector.collected().spans.iter().filter(|span| span.is_server).count(), 1);
}

#[tokio::test]
async fn trace_that_makes_no_sense_is_not_continued() {
    let collector = Collector::start();
    let server = Server::with_config(&format!("{}{}", collector.table(""), app("probe"))).await;
    let head = Request::get("/head").header("traceparent", "00-0-0-00").header("tracestate", "a=b");
    let answer = server.send(H1, &head).await;
    let (request, _) = collector.request("/head").await;
    assert_eq!((request.parent.as_str(), request.state.as_str()), ("", ""));
    let expected = format!("00-{}-{}-01", request.trace, request.id);
    assert_eq!(header(answer.expect(200), "traceparent"), Some(&*expected));
    assert_eq!(header(answer.expect(200), "tracestate"), None);
}

#[tokio::test]
async fn guest_without_traces_sees_what_the_client_sent() {
    let server = Server::start("probe").await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let answer = server.send(H1, &Request::get("/head").header("traceparent", &parent)).await;
    assert_eq!(header(answer.expect(200), "traceparent"), Some(&*parent));
    assert_eq!(header(server.get("/head").await.expect(200), "traceparent"), None);
}

async fn request_of_a_guest_is_of_the_same_trace(probe: &str) {
    let collector = Collector::start();
    let other = Server::with_config(&format!("{}{}", collector.table(""), app("probe"))).await;
    let app = format!("{}outgoing_hosts = ['127.0.0.1']\n", app(probe));
    let server = Server::with_config(&format!("{}{app}", collector.table(""))).await;
    let fetched = server.get(&format!("/fetch?url=http://{}/head", other.address())).await;
    assert!(fetched.expect(200).starts_with("200 "), "{fetched:?}");
    let (outer, _) = collector.request("/fetch").await;
    let (inner, _) = collector.request("/head").await;
    assert_eq!((inner.trace, inner.parent), (outer.trace, outer.id));
}

#[tokio::test]
async fn guest_that_fails_has_an_error_in_its_span() {
    let collector = Collector::start();
    let server = Server::with_config(&format!("{}{}", collector.table(""), app("faulty"))).await;
    server.get("/panic").await.expect(500);
    let (request, parts) = collector.request("/panic").await;
    assert!(request.is_error && named(&parts, "guest").is_error, "{request:?} {parts:?}");
    assert_eq!((request.get("error.type"), request.get("linger.outcome")), ("500", "failed"));
}

#[tokio::test]
async fn log_names_the_trace() {
    let collector = Collector::start();
    let config = format!("{}{}", collector.table(""), app("hello"));
    let server = Server::with_config_and_access_log(&config).await;
    server.get("/x").await.expect(200);
    let (request, _) = collector.request("/x").await;
    server.log.line(&["GET /x 200", &format!("trace={}", request.trace)]).await;
}

#[tokio::test]
async fn collector_that_is_down_is_told_once_and_tried_again() {
    let collector = Collector::prepare();
    let table = collector.table("max_queued = 4\nmax_batch = 4\ntimeout = '5m'\n");
    let (server, mut admin) = serve(&format!("{table}{}", app("hello"))).await;
    server.get("/first").await.expect(200);
    server.log.line(&["does not accept spans", "refused"]).await;
    for _ in 0..10 {
        server.get("/next").await.expect(200);
    }
    counts(&mut admin, "linger_spans_total{fate=\"dropped\"}", |dropped| dropped > 0).await;
    let collector = collector.listen(None);
    collector.request("/first").await;
    server.log.line(&["accepts spans again"]).await;
    // Until there is room.
    eventually("a later request", async || {
        server.get("/last").await.expect(200);
        let collected = collector.collected();
        collected.spans.iter().any(|span| span.find("url.path") == Some("/last")).then_some(())
    })
    .await;
    counts(&mut admin, "linger_spans_total{fate=\"exported\"}", |exported| exported > 3).await;
    assert_eq!(server.log.text().matches("does not accept spans").count(), 1);
}

#[tokio::test]
async fn spans_that_are_refused_are_counted() {
    let collector = Collector::start();
    let (server, mut admin) = serve(&format!("{}{}", collector.table(""), app("hello"))).await;
    for (status, failed) in [(403, 1), (400, 2)] {
        collector.answer(status);
        server.get("/").await.expect(200);
        server.log.line(&["does not accept spans", &status.to_string()]).await;
        counts(&mut admin, "linger_span_exports_failed_total", |count| count >= failed).await;
    }
    counts(&mut admin, "linger_spans_total{fate=\"failed\"}", |failed| failed == 6).await;
    collector.answer(200);
    server.get("/taken").await.expect(200);
    collector.request("/taken").await;
}

#[tokio::test]
async fn collector_that_does_not_answer_costs_only_spans() {
    let collector = Collector::start();
    collector.answer(SILENT);
    let config = format!("{}{}", collector.table("timeout = '50ms'\n"), app("hello"));
    let (server, mut admin) = serve(&config).await;
    server.get("/").await.expect(200);
    server.log.line(&["does not accept spans", "`traces.timeout`"]).await;
    counts(&mut admin, "linger_spans_total{fate=\"failed\"}", |failed| failed == 3).await;
    server.get("/").await.expect(200);
}

#[tokio::test]
async fn server_that_stops_sends_the_last_spans() {
    let collector = Collector::start();
    let table = collector.table("").replace("10ms", "1h");
    let mut server = Server::with_config(&format!("{table}{}", app("longpoll"))).await;
    let waiting = server.park(H1, &Request::get("/poll/q?wait=60")).await;
    server.signal(Signal::TERM);
    waiting.answer().await.expect(503);
    assert!(server.exit().await.success());
    let (request, _) = collector.request("/poll/q").await;
    assert_eq!(request.get("linger.reason"), "shutdown");
}

#[tokio::test]
async fn server_that_stops_does_not_wait_long_for_the_collector() {
    let collector = Collector::start();
    collector.answer(503);
    let table = collector.table("timeout = '2s'\n").replace("10ms", "1h");
    let mut server = Server::with_config(&format!("{table}{}", app("hello"))).await;
    server.get("/").await.expect(200);
    server.signal(Signal::TERM);
    assert!(server.exit().await.success());
    assert!(collector.collected().requests > 0, "it was asked");
}

#[tokio::test]
async fn collector_is_spoken_to_over_tls_with_headers() {
    let certificate = Certificate::new();
    let collector = Collector::with_tls(&certificate);
    let ca = certificate.file();
    let keys = format!(
        "service = 'shop'\nca = '{}'\nheaders.authorization = 'Bearer ${{LINGER_TEST_SECRET}}'\n",
        ca.display()
    );
    let table = collector.table(&keys).replace("http://", "https://");
    let server = Server::with_config(&format!("{table}{}", app("hello"))).await;
    server.get("/x").await.expect(200);
    let (request, _) = collector.request("/x").await;
    assert_eq!(request.get("service.name"), "shop");
    assert!(collector.collected().authorizations.iter().all(|header| header == "Bearer seen"));

    // Without its authority it is not believed.
    let table = collector.table("").replace("http://", "https://");
    let server = Server::with_config(&format!("{table}{}", app("hello"))).await;
    server.get("/y").await.expect(200);
    server.log.line(&["does not accept spans", "certificate"]).await;
}

#[tokio::test]
async fn authority_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("none.pem"), "nothing").unwrap();
    let table = "[traces]\nendpoint = 'https://127.0.0.1:1'\nca = 'none.pem'\n";
    let file = write_config(folder.path(), &format!("{table}{}", app("hello")));
    let output = serve_in_vain(&file, &[]);
    assert_refused(&output, &["traces", "none.pem", "no certificate"]);
}

#[tokio::test]
async fn changed_traces_count_at_the_next_start() {
    let collector = Collector::start();
    let server = Server::with_config(&format!("{ADMIN}{}", app("hello"))).await;
    write_config(server.folder(), &format!("{ADMIN}{}{}", collector.table(""), app("hello")));
    let output = server.operate(&["reload"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.trim(), "traces: changed, applies after a restart");
}
