//! Bodies that guests do not read, and clients that are slow to send theirs: each keeps to its own share, and nobody hangs.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::harness::{
    ABSENCE, ADMIN_TCP, H1, H2, Http1, Http2, Open, Protocol, Request, Server, eventually, soon,
};

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What one request may have, and so what each of those takes that are not read.
const BODY: usize = 64 * 1024;

const LIMITS: &str = "[limits]\nmax_body_buffer = '64KiB'\nmax_body_buffers = '1MiB'\n";

/// Two apps that park, and one that gives bodies back.
const APPS: &str = "[apps.one]\ncomponent = '{witness}'\n[apps.two]\ncomponent = '{witness}'\n\
     [apps.echo]\ncomponent = '{echo}'\n\
     [[routes]]\napp = 'one'\nhost = 'one.example'\n[[routes]]\napp = 'two'\nhost = 'two.example'\n\
     [[routes]]\napp = 'echo'\nhost = 'echo.example'\n";

async fn serve(limits: &str) -> Server {
    Server::with_config(&format!("{LIMITS}{limits}{ADMIN_TCP}{APPS}")).await
}

/// One whose guest does not read it.
fn unread(app: &str) -> Request {
    Request::post("/park/me", vec![b'x'; BODY]).host(&format!("{app}.example"))
}

fn echoed(length: usize) -> Request {
    Request::post("/", vec![b'x'; length]).host("echo.example")
}

/// Whether a request is refused, or has its body taken and waits in its guest: in that case it is kept.
async fn refused(server: &Server, source: IpAddr, request: &Request, kept: &mut Vec<Http1>) -> bool {
    let mut client = Http1::connect_from(source, server.address()).await;
    client.send_request(request).await;
    // Whoever is refused is so at once; the others have no answer, however long one waits.
    if tokio::time::timeout(ABSENCE / 4, client.is_readable()).await.is_err() {
        kept.push(client);
        return false;
    }
    let answer = client.answer().await;
    answer.expect(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    true
}

/// Sends bodies that nobody reads until one is refused.
async fn fill(server: &Server, source: IpAddr, app: &str) -> Vec<Http1> {
    let mut kept = Vec::new();
    soon("there is no more room", async { while !refused(server, source, &unread(app), &mut kept).await {} })
        .await;
    // Some may have been refused late.
    let mut waiting = Vec::new();
    for client in kept {
        if !client.has_something().await {
            waiting.push(client);
        }
    }
    waiting
}

async fn metric(server: &Server, name: &str) -> f64 {
    let answer = server.ask_admin("/metrics").await;
    let line = answer.expect(200).lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

async fn is_answered(server: &Server, source: IpAddr, request: &Request) {
    let mut client = Http1::connect_from(source, server.address()).await;
    let answer = client.ask(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, request.body);
}

#[tokio::test]
async fn one_client_cannot_take_the_room_of_others() {
    let server = serve("").await;
    let kept = fill(&server, FIRST, "one").await;
    assert!((1..=4).contains(&kept.len()), "a quarter of all: {}", kept.len());
    // Wherever it asks.
    assert!(refused(&server, FIRST, &echoed(10), &mut Vec::new()).await);
    is_answered(&server, SECOND, &echoed(1 << 20)).await;
    // What has no body needs no room.
    server.send(H1, &Request::get("/instance").host("one.example")).await.expect(200);
    let limit = "linger_limits_reached_total{app=\"\",limit=\"limits.max_body_buffers_per_client\"}";
    assert!(metric(&server, limit).await >= 2.0);
    server.log.line(&["WARN", "limits.max_body_buffers_per_client is reached", "127.0.0.1"]).await;
    let said = server.log.text().matches("per_client is reached").count();
    assert_eq!(said, 1, "{}", server.log.text());
    server.ask_admin("/readyz").await.expect(200);
    drop(kept);
    eventually("there is room again", async || {
        let mut client = Http1::connect(server.address()).await;
        (client.ask(&echoed(BODY)).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_app_cannot_take_the_room_of_others() {
    let server = serve("max_body_buffers_per_client = '1MiB'\nmax_body_buffers_per_app = '256KiB'\n").await;
    let kept = fill(&server, FIRST, "one").await;
    assert!((1..=4).contains(&kept.len()), "{}", kept.len());
    assert!(refused(&server, SECOND, &unread("one"), &mut Vec::new()).await);
    assert!(!refused(&server, FIRST, &unread("two"), &mut Vec::new()).await);
    is_answered(&server, FIRST, &echoed(1 << 20)).await;
    let limit = "linger_limits_reached_total{app=\"one\",limit=\"limits.max_body_buffers_per_app\"}";
    assert!(metric(&server, limit).await >= 2.0);
    server.log.line(&["WARN", "app=\"one\"", "limits.max_body_buffers_per_app is reached"]).await;
}

#[tokio::test]
async fn server_without_room_is_not_ready_and_what_has_begun_goes_on() {
    let shares = "max_body_buffers_per_client = '1MiB'\nmax_body_buffers_per_app = '1MiB'\n";
    let server = serve(shares).await;
    let mut begun = Http1::connect_from(SECOND, server.address()).await;
    begun.send("POST / HTTP/1.1\r\nhost: echo.example\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n").await;
    assert_eq!(begun.head().await.status, 200);
    assert_eq!(begun.chunk().await.unwrap().unwrap(), "x");
    let kept = fill(&server, FIRST, "one").await;
    assert!((1..=16).contains(&kept.len()), "{}", kept.len());
    let ready = server.ask_admin("/readyz").await;
    assert!(ready.expect(503).contains("limits.max_body_buffers"), "{}", ready.text());
    assert!(refused(&server, SECOND, &echoed(BODY), &mut Vec::new()).await);
    let limit = "linger_limits_reached_total{app=\"\",limit=\"limits.max_body_buffers\"}";
    assert!(metric(&server, limit).await >= 2.0);
    // Each of these pieces waits for nobody but its own guest.
    for _ in 0..20 {
        begun.send(format!("{BODY:x}\r\n{}\r\n", "y".repeat(BODY))).await;
        let mut back = 0;
        while back < BODY {
            back += begun.chunk().await.unwrap().unwrap().len();
        }
    }
    begun.send("0\r\n\r\n").await;
    assert_eq!(begun.rest().await.unwrap().0, "");
    drop(kept);
    eventually("it is ready", async || {
        let ready = server.ask_admin("/readyz").await;
        (ready.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn bodies_that_guests_read_need_no_more_than_their_share() {
    let server = serve("").await;
    let mut clients = JoinSet::new();
    for _ in 0..32 {
        let address = server.address();
        clients.spawn(async move { Http1::connect(address).await.ask(&echoed(3 << 20)).await });
    }
    while let Some(answer) = soon("an answer", clients.join_next()).await {
        let answer = answer.unwrap();
        // Who comes when its share is taken is told so.
        assert!(answer.status == 503 || answer.body.len() == 3 << 20, "{}", answer.status);
    }
    is_answered(&server, FIRST, &echoed(3 << 20)).await;
}

const SLOW_TIMEOUT: Duration = Duration::from_secs(2);
const SLOW: &str = "[limits]\nbody_timeout = '2s'\nmax_body_buffer = '64KiB'\n[apps.app]\n";

async fn slow(component: &str) -> Server {
    Server::with_config_and_access_log(&format!("{SLOW}component = '{{{component}}}'\n")).await
}

crate::harness::crossed! {
    "witness", "witness-p2":
    client_that_stops_in_its_body_is_told_and_so_is_its_guest,
}

async fn client_that_stops_in_its_body_is_told_and_so_is_its_guest(component: &str, protocol: Protocol) {
    let server = slow(component).await;
    let answer = match protocol {
        Protocol::Http1 => {
            let mut client = Http1::connect(server.address()).await;
            client
                .send("POST /park/me HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nthe first bytes")
                .await;
            let answer = client.answer().await;
            assert_eq!(answer.header("connection"), Some("close"));
            client.closed().await;
            answer
        }
        Protocol::Http2 => {
            let mut client = Http2::connect(server.address()).await;
            let mut stream = client.start(&Request::post("/park/me", ""), false).await;
            stream.split().0.data(b"the first bytes", false).await;
            stream.split().1.answer().await
        }
    };
    answer.expect(408);
    server.log.line(&["POST ", "/park/me 408: failed", "unresponsive"]).await;
    assert_eq!(server.get("/told").await.expect(200), "me unresponsive");
}

#[tokio::test]
async fn client_that_dribbles_its_body_is_told() {
    let server = slow("witness").await;
    let mut client = Http1::connect(server.address()).await;
    client.send("POST /park/me HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n").await;
    let (mut reading, mut writing) = client.split();
    let dribble = async {
        loop {
            // It may be gone.
            if writing.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        answer = reading.answer() => drop(answer.expect(408)),
        () = dribble => {}
    }
}

#[tokio::test]
async fn client_that_sends_as_fast_as_it_has_to_has_all_the_time() {
    let server = Server::with_config(
        "[limits]\nbody_timeout = '1s'\nmin_body_rate = '100B'\n[apps.app]\ncomponent = '{echo}'\n",
    )
    .await;
    let mut client = Http1::connect(server.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n").await;
    // Three times as long as it may stop, and faster than the least.
    for _ in 0..50 {
        client.send("x".repeat(100)).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(client.answer().await.expect(200).len(), 5000);
}

#[tokio::test]
async fn client_that_waits_for_the_guest_to_read_is_not_slow() {
    let server = slow("witness").await;
    let mut client = Http1::connect(server.address()).await;
    let body = vec![b'x'; 8 << 20];
    client.send(format!("POST /park/me HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    let (mut reading, mut writing) = client.split();
    tokio::select! {
        sent = writing.write_all(&body) => panic!("all was sent, though nobody reads: {sent:?}"),
        head = reading.try_head() => panic!("{head:?}"),
        () = tokio::time::sleep(SLOW_TIMEOUT + 2 * ABSENCE) => {}
    }
}

#[tokio::test]
async fn who_waits_for_leave_to_send_is_not_slow() {
    let server = slow("witness").await;
    let head = "POST /park/me HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    let mut client = Http1::connect(server.address()).await;
    client.send(head).await;
    let answered = tokio::time::timeout(SLOW_TIMEOUT + 2 * ABSENCE, client.try_head()).await;
    assert!(answered.is_err(), "{answered:?}");
}

#[tokio::test]
async fn guest_that_has_answered_learns_that_its_body_does_not_end() {
    for protocol in [H1, H2] {
        let server = slow("echo").await;
        let request = Request::post("/", "");
        let mut connection = None;
        let mut open = match protocol {
            H1 => {
                let mut client = Http1::connect(server.address()).await;
                client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhello").await;
                Open::One(client)
            }
            H2 => {
                let mut client = Http2::connect(server.address()).await;
                let mut stream = client.start(&request, false).await;
                stream.split().0.data(b"hello", false).await;
                connection = Some(client);
                Open::Two(stream)
            }
        };
        assert_eq!(open.head().await.status, 200);
        assert_eq!(open.chunk().await.unwrap().unwrap(), "hello");
        soon("the answer ends", async { while let Ok(Some(_)) = open.chunk().await {} }).await;
        drop(connection);
    }
}
