//! What one client may occupy, and what operators are told when it wants more, or when all together do.

use std::net::{IpAddr, Ipv4Addr};

use tokio::net::UnixStream;

use crate::harness::{
    ABSENCE, ADMIN_TCP, H1, Http1, Http2, KeptConnection, Protocol, Request, Server, crossed, eventually,
    write_config,
};

crossed!("longpoll", "longpoll-p2": requests_of_one_client_are_bounded);

const ONE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const APP: &str = "[apps.app]\ncomponent = '{longpoll}'\n";

fn poll() -> Request {
    Request::get("/poll/q?wait=60")
}

fn no_wait() -> Request {
    Request::get("/poll/q?wait=0")
}

/// A client at this address that has had an answer.
async fn client(from: IpAddr, server: &Server) -> Http1 {
    let mut client = Http1::connect_from(from, server.address()).await;
    client.ask(&no_wait()).await.expect(204);
    client
}

async fn is_refused(from: IpAddr, server: &Server) {
    let mut refused = Http1::connect_from(from, server.address()).await;
    refused.closed().await;
}

/// Waits until a limit counts as reached so many times, and the log says so, once.
async fn reached(server: &Server, app: &str, limit: &str, times: f64) {
    counted(server, app, limit, times).await;
    server.log.line(&["WARN", &format!("{limit} is reached")]).await;
    let lines = server.log.text();
    let count = lines.lines().filter(|line| line.contains(&format!("{limit} is reached"))).count();
    assert_eq!(count, 1, "one line a minute");
}

async fn counted(server: &Server, app: &str, limit: &str, times: f64) {
    let name = format!("linger_limits_reached_total{{app=\"{app}\",limit=\"{limit}\"}} ");
    measures(server, &name, times).await;
}

/// Waits until so many requests of an app are in progress.
async fn in_progress(server: &Server, app: &str, count: f64) {
    measures(server, &format!("http_server_active_requests{{app=\"{app}\"}} "), count).await;
}

/// Waits until a metric, of which the line begins like that, has this value or more.
async fn measures(server: &Server, metric: &str, least: f64) {
    let mut admin = KeptConnection::connect(H1, server.admin_address().await).await;
    eventually(metric, async || {
        let answer = admin.ask(&Request::get("/metrics").host("localhost")).await;
        let value: f64 =
            answer.expect(200).lines().find_map(|line| line.strip_prefix(metric))?.parse().unwrap();
        (value >= least).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_of_one_client_are_bounded() {
    let limits = "limits.max_connections_per_client = 2\n";
    let server = Server::with_config(&format!("{limits}{ADMIN_TCP}{APP}")).await;
    let mut first = client(ONE, &server).await;
    let _second = client(ONE, &server).await;
    for _ in 0..5 {
        is_refused(ONE, &server).await;
    }
    // Others are not meant.
    let _other = client(OTHER, &server).await;
    first.ask(&no_wait()).await.expect(204);
    reached(&server, "", "limits.max_connections_per_client", 5.0).await;
    server.log.line(&["limits.max_connections_per_client is reached", "client=127.0.0.1"]).await;
    drop(first);
    eventually("there is room again", async || {
        Http1::connect_from(ONE, server.address()).await.try_ask(&no_wait()).await
    })
    .await
    .expect(204);
}

async fn ask_as(server: &Server, protocol: Protocol, name: &str, request: Request) -> crate::harness::Open {
    server.open(protocol, &request.header("x-forwarded-for", name)).await
}

async fn requests_of_one_client_are_bounded(component: &str, protocol: Protocol) {
    let config = format!(
        "limits.max_requests_per_client = 1\n{ADMIN_TCP}[[listeners]]\naddress = '127.0.0.1:0'\n\
         trusted_proxies = ['127.0.0.1']\n[apps.app]\ncomponent = '{{{component}}}'\n"
    );
    let server = Server::with_config(&config).await;
    let _parked = ask_as(&server, protocol, "192.0.2.1", poll()).await;
    in_progress(&server, "app", 1.0).await;
    ask_as(&server, protocol, "192.0.2.1", no_wait()).await.answer().await.expect(503);
    let refused = ask_as(&server, protocol, "192.0.2.1", no_wait()).await.answer().await;
    assert!(refused.expect(503).contains("this client has too many requests"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Of another client, and of one that the proxy does not name.
    ask_as(&server, protocol, "192.0.2.2", no_wait()).await.answer().await.expect(204);
    let _unnamed = [server.open(protocol, &poll()).await, server.open(protocol, &poll()).await];
    server.send(protocol, &no_wait()).await.expect(204);
    reached(&server, "", "limits.max_requests_per_client", 2.0).await;
    server.log.line(&["limits.max_requests_per_client is reached", "client=192.0.2.1"]).await;
}

#[tokio::test]
async fn streams_of_one_connection_count_alike() {
    let limits = "[limits]\nmax_requests_per_client = 2\nmax_streams_per_connection = 3\n";
    let server = Server::with_config(&format!("{limits}{ADMIN_TCP}{APP}")).await;
    let mut client = Http2::connect(server.address()).await;
    let _parked = [client.stream(&poll()).await, client.stream(&poll()).await];
    client.ask(&no_wait()).await.expect(503);
    reached(&server, "", "limits.max_requests_per_client", 1.0).await;
    reached(&server, "", "limits.max_streams_per_connection", 1.0).await;
    let mut other = Http1::connect_from(OTHER, server.address()).await;
    other.ask(&no_wait()).await.expect(204);
}

#[tokio::test]
async fn whom_a_proxy_names_first_has_the_connection() {
    let server = Server::with_config(&format!(
        "limits.max_connections_per_client = 1\n{ADMIN_TCP}[[listeners]]\naddress = '127.0.0.1:0'\n\
         trusted_proxies = ['127.0.0.1']\nproxy_protocol = true\n{APP}"
    ))
    .await;
    let begin = async |name: &str| {
        let mut client = Http1::connect(server.address()).await;
        client.send(format!("PROXY TCP4 {name} 10.0.0.1 1 2\r\n")).await;
        client
    };
    let mut first = begin("192.0.2.1").await;
    first.ask(&no_wait()).await.expect(204);
    begin("192.0.2.1").await.closed().await;
    begin("192.0.2.2").await.ask(&no_wait()).await.expect(204);
    reached(&server, "", "limits.max_connections_per_client", 1.0).await;
    server.log.line(&["limits.max_connections_per_client is reached", "client=192.0.2.1"]).await;
    drop(first);
    eventually("there is room again", async || begin("192.0.2.1").await.try_ask(&no_wait()).await).await;
}

#[tokio::test]
async fn unix_socket_is_no_client() {
    let server = Server::with_config(&format!(
        "[limits]\nmax_connections_per_client = 1\nmax_requests_per_client = 1\n\
         [[listeners]]\naddress = '127.0.0.1:0'\n[[listeners]]\naddress = 'unix:app.sock'\n{APP}"
    ))
    .await;
    let socket = server.folder().join("app.sock");
    let mut clients: Vec<Http1<UnixStream>> = Vec::new();
    for _ in 0..3 {
        let mut client = Http1::at(&socket).await;
        client.ask(&no_wait()).await.expect(204);
        client.send_request(&poll()).await;
        clients.push(client);
    }
    Http1::at(&socket).await.ask(&no_wait()).await.expect(204);
}

#[tokio::test]
async fn reload_changes_what_a_client_may_have() {
    let config = |connections: usize, requests: usize| {
        format!(
            "[limits]\nmax_connections_per_client = {connections}\nmax_requests_per_client = {requests}\n\
             {ADMIN_TCP}{APP}"
        )
    };
    let server = Server::with_config(&config(1, 1)).await;
    let reload = async |connections, requests| {
        write_config(server.folder(), &config(connections, requests));
        let mut admin = KeptConnection::connect(H1, server.admin_address().await).await;
        admin.ask(&Request::post("/reload", "").host("localhost")).await.expect(200);
    };
    let mut first = client(ONE, &server).await;
    is_refused(ONE, &server).await;
    reload(3, 2).await;
    let mut second = client(ONE, &server).await;
    second.send_request(&poll()).await;
    let mut third = client(ONE, &server).await;
    third.send_request(&poll()).await;
    in_progress(&server, "app", 2.0).await;
    first.ask(&no_wait()).await.expect(503);
    is_refused(ONE, &server).await;
    // A lower one sends nobody away.
    reload(1, 1).await;
    first.ask(&no_wait()).await.expect(503);
    drop((second, third));
    eventually("they have left", async || (first.ask(&no_wait()).await.status == 204).then_some(())).await;
}

#[tokio::test]
async fn one_client_leaves_room_for_others() {
    // A half for each, unless it is set.
    let server = Server::with_config(&format!("limits.max_connections = 8\n{ADMIN_TCP}{APP}")).await;
    let mut greedy = Vec::new();
    for _ in 0..20 {
        greedy.push(Http1::connect_from(ONE, server.address()).await);
    }
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(client(OTHER, &server).await);
    }
    let mut third = Http1::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)), server.address()).await;
    third.send_request(&no_wait()).await;
    assert!(tokio::time::timeout(ABSENCE, third.try_head()).await.is_err(), "there is no room");
    reached(&server, "", "limits.max_connections", 1.0).await;
    drop(others);
    third.answer().await.expect(204);
}

#[tokio::test]
async fn limits_of_queues_are_told_of() {
    let server =
        Server::with_config(&format!("{ADMIN_TCP}[queues]\nmax_events = 1\nmax_event_size = '10B'\n{APP}"))
            .await;
    let push = Request::post("/push/full", "x");
    server.send(H1, &push).await.expect(202);
    server.send(H1, &push).await;
    reached(&server, "app", "queues.max_events", 1.0).await;
    server.send(H1, &Request::post("/push/large", "more than ten bytes")).await;
    reached(&server, "app", "queues.max_event_size", 1.0).await;
    let mut admin = KeptConnection::connect(H1, server.admin_address().await).await;
    admin.ask(&Request::post("/queues/full", "x").host("localhost")).await.expect(507);
    // A line of each app, and one of the server.
    counted(&server, "", "queues.max_events", 1.0).await;
}

#[tokio::test]
async fn full_instances_are_told_of() {
    let limits = "instances = { max = 1, max_requests = 1, max_queued = 0 }\n";
    let server =
        Server::with_config(&format!("{ADMIN_TCP}[apps.app]\ncomponent = '{{faulty}}'\n{limits}")).await;
    let _hanging = server.occupy(H1, "/hang", "/ok").await;
    reached(&server, "app", "instances", 1.0).await;
}

#[tokio::test]
async fn limits_of_requests_and_heads_are_told_of() {
    let server = Server::with_config(&format!(
        "[limits]\nmax_requests = 2\nmax_requests_per_client = 9\nmax_head_size = '8KiB'\n{ADMIN_TCP}\
         [apps.app]\ncomponent = '{{longpoll}}'\nmax_requests = 1\n[apps.other]\ncomponent = '{{longpoll}}'\n\
         [[routes]]\napp = 'other'\nhost = 'other'\n[[routes]]\napp = 'app'\n"
    ))
    .await;
    let _parked = server.open(H1, &poll()).await;
    in_progress(&server, "app", 1.0).await;
    server.get("/poll/q?wait=0").await.expect(503);
    reached(&server, "app", "apps.max_requests", 1.0).await;
    let _parked = server.open(H1, &poll().host("other")).await;
    in_progress(&server, "other", 1.0).await;
    server.send(H1, &no_wait().host("other")).await.expect(503);
    reached(&server, "", "limits.max_requests", 1.0).await;
    let mut client = Http1::connect(server.address()).await;
    client.send(format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(20_000))).await;
    client.answer().await.expect(431);
    reached(&server, "", "limits.max_head_size", 1.0).await;
}
