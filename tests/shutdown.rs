//! The server stops: nobody is left hanging, and neither is the process.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{
    ABSENCE, ADMIN_TCP, Certificate, H1, Http1, Http2, KeptConnection, Open, Protocol, Request, Server, both,
    combinations, crossed, eventually, places,
};

crossed!("longpoll", "longpoll-p2":
    shutdown_answers_parked_polls_with_503,
    interrupt_stops_as_well,
);

combinations!("longpoll", "longpoll-p2": shutdown_closes_idle_connections);

combinations!("echo", "echo-p2": running_request_ends_in_order_after_the_signal);

both!("faulty", "faulty-p2":
    deaf_guest_delays_the_exit_by_the_shutdown_timeout_only,
    second_signal_exits_at_once,
);

async fn shutdown_answers_parked_polls_with_503(component: &str, protocol: Protocol) {
    let mut server = Server::with_config(&format!("[apps.app]\n{}", places(component, 10))).await;
    let open = async |number| server.open(protocol, &Request::get(&format!("/poll/q{number}?wait=60"))).await;
    let polls = server.fill(10, "/nothing", open).await;
    server.signal(Signal::TERM);
    for poll in polls {
        let answer = Open::answer(poll).await;
        assert!(answer.expect(503).contains("stopping"), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), Some("0"));
    }
    assert_eq!(server.exit().await.code(), Some(0));
    server.log.line(&["INFO stopped"]).await;
}

async fn interrupt_stops_as_well(component: &str, protocol: Protocol) {
    let mut server = Server::with_config(&format!("[apps.app]\n{}", places(component, 1))).await;
    let poll = server.occupy(protocol, "/poll/q?wait=60", "/nothing").await;
    server.signal(Signal::INT);
    poll.answer().await.expect(503);
    assert_eq!(server.exit().await.code(), Some(0));
}

async fn shutdown_closes_idle_connections(mut server: Server, protocol: Protocol) {
    match protocol {
        Protocol::Http1 => {
            let mut used = Http1::connect(server.address()).await;
            used.ask(&Request::get("/poll/q?wait=0")).await.expect(204);
            server.signal(Signal::TERM);
            used.closed().await;
            assert_eq!(used.unread(), b"");
        }
        Protocol::Http2 => {
            let mut used = Http2::connect(server.address()).await;
            used.ask(&Request::get("/poll/q?wait=0")).await.expect(204);
            server.signal(Signal::TERM);
            used.closed().await;
        }
    }
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn clients_that_have_said_nothing_do_not_delay_the_exit() {
    let config = "shutdown_timeout = '1h'\n[apps.app]\ncomponent = '{hello}'\n";
    let mut server = Server::with_config(config).await;
    let mut clients = Vec::new();
    for beginning in ["", "G", "PRI * HT"] {
        let mut client = Http1::connect(server.address()).await;
        client.send(beginning).await;
        clients.push(client);
    }
    server.get("/").await.expect(200);
    server.signal(Signal::TERM);
    for mut client in clients {
        client.closed().await;
    }
    assert_eq!(server.exit().await.code(), Some(0));
    server.log.line(&["INFO stopped"]).await;
}

/// Three listeners: in clear, over TLS, and for a proxy. The address of each.
async fn with_all_listeners(keys: &str) -> (Server, [SocketAddr; 3]) {
    let certificate = Certificate::new();
    let (cert, key) = (certificate.file(), certificate.key());
    let server = Server::with_config_and_access_log(&format!(
        "shutdown_timeout = '1h'\n{keys}{ADMIN_TCP}[[listeners]]\naddress = '127.0.0.1:0'\n\
         [[listeners]]\naddress = '127.0.0.1:0'\ntls = {{ certificate = '{}', key = '{}' }}\n\
         [[listeners]]\naddress = '127.0.0.1:0'\ntrusted_proxies = ['127.0.0.1']\nproxy_protocol = true\n\
         [apps.app]\ncomponent = '{{longpoll}}'\n",
        cert.display(),
        key.display()
    ))
    .await;
    server.output.line(&["admin on"]).await;
    let said = server.output.text();
    let addresses = said.lines().filter_map(|line| line.strip_prefix("listening on ")?.split_once("://"));
    let addresses: Vec<_> = addresses.map(|(_, address)| address.parse().unwrap()).collect();
    (server, addresses.try_into().unwrap())
}

/// What a client has sent, and to which listener, when the server is to stop.
const BEGINNINGS: [(usize, &[u8]); 12] = [
    (0, b""),
    (0, b"PRI * HT"),
    (0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    // One that knows no GOAWAY: it does not close.
    (0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    (0, b"GET /poll/q?wait=60 HTTP/1.1\r\nhost: x\r\n"),
    // An answer, and then half a head.
    (0, b"GET /poll/q?wait=0 HTTP/1.1\r\nhost: x\r\n\r\nGET /poll"),
    (1, b""),
    (1, b"\x16\x03\x01\x02\0"),
    (2, b""),
    (2, b"PROXY TC"),
    (2, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
    (2, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /"),
];

#[tokio::test]
async fn clients_without_a_request_do_not_delay_the_exit() {
    for (listener, beginning) in BEGINNINGS {
        let (mut server, addresses) = with_all_listeners("").await;
        let mut client = Http1::connect(addresses[listener]).await;
        client.send(beginning).await;
        // Others have been served since.
        server.overtake().await;
        let start = Instant::now();
        server.signal(Signal::TERM);
        assert_eq!(server.exit().await.code(), Some(0));
        let (took, said) = (start.elapsed(), String::from_utf8_lossy(beginning));
        println!("listener {listener}, {said:?}: {took:?}");
        assert!(took < Duration::from_secs(10), "{said:?} to listener {listener}: {took:?}");
        server.log.line(&["INFO stopped"]).await;
        client.closed().await;
    }
}

#[tokio::test]
async fn operators_do_not_delay_the_exit() {
    let (mut server, _) = with_all_listeners("").await;
    let admin = server.admin_address().await;
    let follow = Request::get("/stream").host("localhost");
    let mut following = Http1::open(admin, &follow).await;
    assert_eq!(following.head().await.status, 200);
    let mut idle = Http1::connect(admin).await;
    idle.ask(&Request::get("/livez").host("localhost")).await.expect(200);
    let mut half = Http1::connect(admin).await;
    half.send("GET /li").await;
    let mut taking = Http1::open(admin, &Request::post("/queues/q/take?wait=1m", "").host("localhost")).await;
    server.overtake().await;
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
    println!("{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    for client in [&mut following, &mut idle, &mut half, &mut taking] {
        client.closed().await;
    }
}

#[tokio::test]
async fn head_that_is_completed_in_time_is_answered() {
    let (mut server, _) = with_all_listeners("").await;
    let mut client = Http1::connect(server.address()).await;
    client.send("GET /poll/q?wait=0 HTTP/1.1\r\nhost: x\r\n").await;
    server.overtake().await;
    stop_accepting(&server).await;
    client.send("\r\n").await;
    // It takes no events any more.
    let answer = client.answer().await;
    assert!(matches!(answer.status.as_u16(), 204 | 503), "{answer:?}");
    client.closed().await;
    assert_eq!(server.exit().await.code(), Some(0));
}

/// What `/readyz` says.
async fn ready(admin: &mut KeptConnection) -> u16 {
    admin.ask(&Request::get("/readyz").host("localhost")).await.status.as_u16()
}

#[tokio::test]
async fn server_that_leaves_takes_requests_for_a_time() {
    const DELAY: Duration = Duration::from_secs(3);
    let (mut server, _) = with_all_listeners("shutdown_delay = '3s'\n").await;
    let mut admin = KeptConnection::connect(H1, server.admin_address().await).await;
    assert_eq!(ready(&mut admin).await, 200);
    let mut kept = Http1::connect(server.address()).await;
    kept.ask(&Request::get("/poll/q?wait=0")).await.expect(204);
    let parked = server.park(H1, &Request::get("/poll/q?wait=60")).await;
    let start = Instant::now();
    server.signal(Signal::TERM);
    eventually("it is not ready", async || (ready(&mut admin).await == 503).then_some(())).await;
    server.log.line(&["not ready", "accepted for 3s"]).await;
    // On connections old and new, as before.
    kept.ask(&Request::get("/poll/other?wait=0")).await.expect(204);
    server.send(H1, &Request::post("/push/other", "event")).await.expect(202);
    assert_eq!(server.get("/poll/other?wait=5").await.expect(200), "event");
    assert!(start.elapsed() < DELAY, "the machine is too slow to see it: {:?}", start.elapsed());
    server.assert_running();
    assert!(parked.answer().await.expect(503).contains("stopping"));
    assert!(start.elapsed() >= DELAY, "after {:?}", start.elapsed());
    eventually("connections are refused", async || TcpStream::connect(server.address()).await.err()).await;
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn second_signal_ends_the_delay() {
    let (mut server, _) = with_all_listeners("shutdown_delay = '1h'\n").await;
    server.signal(Signal::TERM);
    server.log.line(&["not ready"]).await;
    server.get("/poll/q?wait=0").await.expect(204);
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(130));
}

async fn running_request_ends_in_order_after_the_signal(mut server: Server, protocol: Protocol) {
    match protocol {
        Protocol::Http1 => {
            let mut client = Http1::connect(server.address()).await;
            client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nfirst").await;
            client.head().await;
            assert_eq!(client.chunk().await.unwrap().unwrap(), "first");
            stop_accepting(&server).await;
            client.send("later").await;
            assert_eq!(client.rest().await.unwrap().0, "later");
        }
        Protocol::Http2 => {
            let mut client = Http2::connect(server.address()).await;
            let mut stream = client.start(&Request::post("/", ""), false).await;
            let (sending, receiving) = stream.split();
            sending.data(b"first", false).await;
            receiving.head().await;
            assert_eq!(receiving.chunk().await.unwrap().unwrap(), "first");
            stop_accepting(&server).await;
            sending.data(b"later", true).await;
            assert_eq!(receiving.rest().await.unwrap().0, "later");
        }
    }
    assert_eq!(server.exit().await.code(), Some(0));
}

/// Sends the signal, and waits until new connections are refused.
async fn stop_accepting(server: &Server) {
    server.signal(Signal::TERM);
    eventually("connections are refused", async || TcpStream::connect(server.address()).await.err()).await;
}

async fn deaf_guest_delays_the_exit_by_the_shutdown_timeout_only(faulty: &str) {
    let mut server = Server::with_config(&config(faulty, "1s")).await;
    let hanging = server.occupy(H1, "/hang", "/ok").await;
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_secs(1), "after {:?}", start.elapsed());
    server.log.line(&["WARN", "stopped with requests in-flight"]).await;
    drop(hanging);
}

async fn second_signal_exits_at_once(faulty: &str) {
    let mut server = Server::with_config(&config(faulty, "1h")).await;
    let hanging = server.occupy(H1, "/hang", "/ok").await;
    server.signal(Signal::TERM);
    server.log.line(&["shutting down; a second signal stops the process at once"]).await;
    tokio::time::sleep(ABSENCE).await;
    server.assert_running();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(130));
    drop(hanging);
}

/// Guests have an hour after a signal, so that only the server's own bounds end it.
fn config(faulty: &str, shutdown_timeout: &str) -> String {
    format!(
        "shutdown_timeout = '{shutdown_timeout}'\n[apps.app]\n{}[[routes]]\napp = 'app'\ngrace = '1h'\n",
        places(faulty, 1)
    )
}
