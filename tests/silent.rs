//! Clients that fall silent: no FIN, no RST, no acknowledgement.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{Http1, Namespace, Request, Server, both};

both!("longpoll", "longpoll-p2":
    silent_client_is_noticed_while_idle,
    silent_client_with_bytes_on_their_way_gives_its_event_back,
    each_bound_can_be_set_alone,
);

/// What `detection` says, and by when a client is given up. The kernel's timers are coarse.
const BOTH: &str =
    "keepalive_idle = '1s'\nkeepalive_interval = '1s'\nkeepalive_probes = 3\nuser_timeout = '3s'";
const BOUND: Duration = Duration::from_secs(4);
const SLACK: Duration = Duration::from_secs(2);

/// A server that is reached from inside of a namespace, if there can be one.
async fn server(component: &str, detection: &str) -> Option<(Namespace, Server)> {
    let namespace = Namespace::new()?;
    let config = format!("[detection]\n{detection}\n[apps.app]\ncomponent = '{{{component}}}'\n");
    let address = SocketAddr::from((namespace.outer(), 0));
    let server = Server::listening_on(address, &config).await;
    Some((namespace, server))
}

async fn parked(namespace: &Namespace, server: &Server) -> Http1 {
    let mut client = Http1::over(namespace.connect(server.address().port()));
    client.send_request(&Request::get("/poll/q?wait=60")).await;
    server.overtake().await;
    client
}

async fn push(server: &Server) {
    server.send(crate::harness::H1, &Request::post("/push/q", "event")).await.expect(202);
}

async fn silent_client_is_noticed_while_idle(longpoll: &str) {
    let Some((namespace, server)) = server(longpoll, BOTH).await else { return };
    let client = parked(&namespace, &server).await;
    let start = Instant::now();
    namespace.cut();
    server.log.line(&["/poll/q", " 499", "unresponsive", "before the head"]).await;
    assert!(start.elapsed() < BOUND + SLACK, "after {:?}", start.elapsed());
    push(&server).await;
    assert_eq!(server.get("/poll/q?wait=10").await.expect(200), "event");
    drop(client);
}

async fn silent_client_with_bytes_on_their_way_gives_its_event_back(longpoll: &str) {
    let Some((namespace, server)) = server(longpoll, BOTH).await else { return };
    let client = parked(&namespace, &server).await;
    namespace.cut();
    let start = Instant::now();
    push(&server).await;
    let answer = server.get("/poll/q?wait=30").await;
    assert_eq!(answer.expect(200), "event");
    assert_eq!(answer.header("maybe-delivered"), Some("true"), "it may have arrived: only its word did not");
    assert!(start.elapsed() < BOUND + SLACK, "after {:?}", start.elapsed());
    server.log.line(&["/poll/q", " 200", "undelivered", "after the last byte"]).await;
    drop(client);
}

async fn each_bound_can_be_set_alone(longpoll: &str) {
    // Keepalive does not apply to bytes on their way: the receipt has a bound of its own.
    let detection = "client_timeout = 'none'\nack_timeout = '1s'";
    let Some((namespace, server)) = server(longpoll, detection).await else { return };
    let client = parked(&namespace, &server).await;
    namespace.cut();
    push(&server).await;
    assert_eq!(server.get("/poll/q?wait=30").await.expect(200), "event");
    drop(client);
}
