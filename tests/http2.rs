//! What only HTTP/2 has: windows, resets, connections without streams, leave to send a body.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, interval, timeout};

use crate::harness::{ADMIN, CANCEL, Came, Frames, H1, Http2, Request, SOON, Server, both};

both!("longpoll", "longpoll-p2":
    answer_without_room_is_given_up_and_taken_back,
    deadline_takes_back_what_there_is_no_room_for,
    slow_reader_gets_all,
    slow_network_is_no_silence,
    client_that_reads_nothing_at_all_is_given_up,
    deadline_takes_back_what_the_socket_has_no_room_for,
    body_that_is_read_gets_leave,
    connection_without_streams_ends,
    body_that_is_not_read_gets_no_leave,
    answers_to_unread_uploads_leave_the_connection_usable,
    request_is_listed_until_its_last_byte_has_left,
);

both!("echo", "echo-p2":
    streams_of_one_connection_do_not_wait_for_each_other,
);

const STALLED: Duration = Duration::from_secs(6);
const EVENT: usize = 200_000;

fn config(longpoll: &str, detection: &str, route: &str) -> String {
    format!(
        "[detection]\nconfirm_window = '20s'\n{detection}\n[apps.app]\ncomponent = '{{{longpoll}}}'\n\
         [[routes]]\napp = 'app'\n{route}\n[[routes]]\napp = 'app'\nhost = 'patient'\n"
    )
}

async fn push(server: &Server, event: &str) {
    let push = Request::post("/push/q", event.to_owned()).host("patient");
    server.send(H1, &push).await.expect(202);
}

/// All that comes for a stream, until it is reset: how much data.
async fn until_reset(client: &mut Frames, stream: u32) -> usize {
    let mut data = 0;
    loop {
        match client.next().await {
            Came::Data { bytes, end, .. } => {
                assert!(!end, "all of it came");
                data += bytes;
            }
            Came::Reset { stream: reset, code } => {
                assert_eq!((reset, code), (stream, CANCEL));
                return data;
            }
            Came::Head { end: false, .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Once there is room, nothing more comes of what was taken back.
async fn assert_nothing_comes(client: &mut Frames, stream: u32) {
    client.make_room(stream, 1_000_000).await;
    for _ in 0..3 {
        client.ping().await;
        loop {
            match client.next().await {
                Came::Pong => break,
                // Of streams that have ended it may be said again.
                Came::Reset { stream: reset, .. } if reset == stream => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn comes_again(server: &Server, event: &str, flagged: bool) {
    let again = server.send(H1, &Request::get("/poll/q?wait=10").host("patient")).await;
    assert_eq!(again.expect(200), event);
    assert!(!flagged || again.header("maybe-delivered") == Some("true"), "a part of it was sent");
}

async fn answer_without_room_is_given_up_and_taken_back(longpoll: &str) {
    let detection = format!("client_timeout = '{}s'\nmin_read_rate = '64KiB'", STALLED.as_secs());
    let server = Server::with_config(&config(longpoll, &detection, "")).await;
    let event = "x".repeat(EVENT);
    for window in [0, 65_535] {
        let mut client = Frames::connect(server.address(), window).await;
        let stream = client.get("/poll/q?wait=60").await;
        push(&server, &event).await;
        let start = Instant::now();
        let data = timeout(SOON, until_reset(&mut client, stream)).await.expect("it is bounded");
        assert_eq!(data, window as usize);
        // What was sent gives it a second to read that.
        assert!(start.elapsed() > STALLED / 2 && start.elapsed() < STALLED * 3, "{:?}", start.elapsed());
        server.log.line(&["/poll/q", "unresponsive", "during the body"]).await;
        comes_again(&server, &event, window > 0).await;
        assert_nothing_comes(&mut client, stream).await;
    }
}

async fn deadline_takes_back_what_there_is_no_room_for(longpoll: &str) {
    let route = "deadline = '1s'\ngrace = '200ms'";
    let server = Server::with_config(&config(longpoll, "", route)).await;
    for (window, length) in [(0, 5), (0, EVENT), (65_535, EVENT)] {
        let event = "x".repeat(length);
        let mut client = Frames::connect(server.address(), window).await;
        let stream = client.get("/poll/q?wait=60").await;
        push(&server, &event).await;
        let data = timeout(SOON, until_reset(&mut client, stream)).await.expect("it is bounded");
        assert_eq!(data, window as usize);
        comes_again(&server, &event, window > 0).await;
        assert_nothing_comes(&mut client, stream).await;
    }
}

async fn slow_reader_gets_all(longpoll: &str) {
    let detection = format!("client_timeout = '{}s'\nmin_read_rate = '8KiB'", STALLED.as_secs());
    let server = Server::with_config(&config(longpoll, &detection, "")).await;
    let mut client = Frames::connect(server.address(), 20_000).await;
    let stream = client.get("/poll/q?wait=60").await;
    push(&server, &"x".repeat(EVENT)).await;
    let (mut data, mut pace, start) = (0, interval(Duration::from_millis(900)), Instant::now());
    pace.tick().await;
    loop {
        tokio::select! {
            _ = pace.tick() => client.make_room(stream, 20_000).await,
            came = client.next() => match came {
                Came::Data { bytes, end, .. } => {
                    data += bytes;
                    if end {
                        break;
                    }
                }
                Came::Head { end: false, .. } => {}
                other => panic!("{other:?} after {data} bytes"),
            },
        }
    }
    assert_eq!(data, EVENT);
    assert!(start.elapsed() > STALLED, "that was too fast to show anything");
}

async fn connection_without_streams_ends(longpoll: &str) {
    let idle = "[limits]\nidle_timeout = '1s'\n";
    let server = Server::with_config(&format!("{idle}{}", config(longpoll, "", ""))).await;
    let mut client = Frames::connect(server.address(), 65_535).await;
    let start = Instant::now();
    let stream = client.get("/poll/q?wait=3").await;
    let mut pings = interval(Duration::from_millis(100));
    let (mut answered, mut asked) = (None, false);
    loop {
        tokio::select! {
            _ = pings.tick() => client.ping().await,
            came = client.next() => match came {
                Came::Head { stream: answer, end: true } => {
                    assert_eq!(answer, stream);
                    answered = Some(start.elapsed());
                }
                Came::Pong => {}
                Came::GoAway => asked = true,
                Came::Closed => break,
                other => panic!("{other:?}"),
            },
        }
        assert!(start.elapsed() < SOON, "it stays open");
    }
    let answered = answered.expect("an answer before the end");
    assert!(asked && start.elapsed() > answered + Duration::from_millis(900), "{:?}", start.elapsed());
}

async fn body_that_is_not_read_gets_no_leave(longpoll: &str) {
    let server = Server::start(longpoll).await;
    let mut client = Http2::connect(server.address()).await;
    // Of the guest, and of the host.
    for path in ["/poll/q", "/nothing"] {
        let request = Request::post(path, "").header("expect", "100-continue");
        let mut stream = client.start(&request, false).await;
        let (sending, receiving) = stream.split();
        assert_eq!(receiving.interim().await, None);
        let answer = receiving.answer().await;
        assert!(answer.status == 405 || answer.status == 404, "{answer:?}");
        // The rest is not wanted, and that is no error.
        assert_eq!(sending.was_reset().await, h2::Reason::NO_ERROR);
    }
    client.ask(&Request::post("/push/q", "event")).await.expect(202);
}

async fn body_that_is_read_gets_leave(longpoll: &str) {
    let server = Server::start(longpoll).await;
    let mut client = Http2::connect(server.address()).await;
    let request = Request::post("/push/q", "").header("expect", "100-continue");
    let mut stream = client.start(&request, false).await;
    let (sending, receiving) = stream.split();
    assert_eq!(receiving.interim().await, Some(100));
    sending.data(b"after leave", true).await;
    receiving.answer().await.expect(202);
    // Who does not wait for it gets none.
    let mut stream = client.start(&Request::post("/push/q", ""), false).await;
    let (sending, receiving) = stream.split();
    sending.data(b"at once", true).await;
    assert_eq!(receiving.interim().await, None);
    receiving.answer().await.expect(202);
    for event in ["after leave", "at once"] {
        assert_eq!(client.ask(&Request::get("/poll/q?wait=10")).await.expect(200), event);
    }
}

async fn streams_of_one_connection_do_not_wait_for_each_other(echo: &str) {
    let server = Server::start(echo).await;
    let mut client = Http2::connect(server.address()).await;
    // One that is answered, and whose answer nobody reads, keeps none of the others.
    let stalled = client.start(&Request::post("/", ""), false).await;
    for round in 0..5 {
        let mut streams = Vec::new();
        for number in 0..100 {
            let body = format!("{round} {number} ").repeat(1 + number * 20);
            streams.push((client.stream(&Request::post("/", body.clone())).await, body));
        }
        let answers = streams.iter_mut().map(async |(stream, body)| {
            assert_eq!(stream.split().1.answer().await.expect(200), *body);
        });
        join_all(answers).await;
    }
    drop(stalled);
}

async fn answers_to_unread_uploads_leave_the_connection_usable(longpoll: &str) {
    let server = Server::start(longpoll).await;
    let mut client = Http2::connect(server.address()).await;
    let body = vec![b'x'; 300_000];
    for _ in 0..100 {
        // Answered by 405, without a look at the body.
        let mut stream = client.start(&Request::post("/poll/q", ""), false).await;
        let (sending, receiving) = stream.split();
        // It may be told to stop.
        let send = sending.try_data(&body);
        let ((), answer) = tokio::join!(send, receiving.answer());
        answer.expect(405);
    }
    client.ask(&Request::post("/push/q", "event")).await.expect(202);
}

async fn request_is_listed_until_its_last_byte_has_left(longpoll: &str) {
    let server = Server::with_config(&format!("{ADMIN}{}", config(longpoll, "", ""))).await;
    let mut client = Frames::connect(server.address(), 0).await;
    let stream = client.get("/poll/q?wait=60").await;
    push(&server, "event").await;
    assert_eq!(client.next().await, Came::Head { stream, end: false });
    for _ in 0..10 {
        let listed = server.shown("/requests").await.to_string();
        assert!(listed.contains("/poll/q"), "{listed}");
    }
    client.make_room(stream, 5).await;
    let data = client.next().await;
    assert!(matches!(data, Came::Data { bytes: 5, .. }), "{data:?}");
}

async fn client_that_reads_nothing_at_all_is_given_up(longpoll: &str) {
    let detection = format!("client_timeout = '{}s'\nmin_read_rate = '64KiB'", STALLED.as_secs());
    let server = Server::with_config(&config(longpoll, &detection, "")).await;
    let mut client = Frames::connect_slowly(server.address(), 1_000_000).await;
    client.get("/poll/q?wait=60").await;
    let event = "x".repeat(900_000);
    push(&server, &event).await;
    // The next one is there when the first is given up.
    let again = server.send(H1, &Request::get("/poll/q?wait=30").host("patient")).await;
    assert_eq!(again.expect(200), event);
    assert_eq!(again.header("maybe-delivered"), Some("true"));
    drop(client);
}

/// Neither PING nor pace: the socket is full, and the deadline alone takes back what has not left.
async fn deadline_takes_back_what_the_socket_has_no_room_for(longpoll: &str) {
    const LARGE: usize = 1_000_000;
    const POLLS: usize = 8;
    let detection = "client_timeout = 'none'\nack_timeout = '4s'\nmin_read_rate = '1MiB'";
    let server = Server::with_config(&config(longpoll, detection, "deadline = '2s'\ngrace = '200ms'")).await;
    let mut client = Frames::connect(server.address(), 1_000_000).await;
    for _ in 0..POLLS {
        client.get("/poll/q?wait=60").await;
    }
    let event = "x".repeat(LARGE);
    for _ in 0..POLLS {
        push(&server, &event).await;
    }
    for _ in 0..POLLS {
        let again = server.send(H1, &Request::get("/poll/q?wait=30").host("patient")).await;
        assert_eq!(again.expect(200).len(), LARGE);
    }
    let (mut whole, mut reset, mut over) = (0, 0, HashSet::new());
    while whole + reset < POLLS {
        match timeout(SOON, client.next()).await.expect("each ends") {
            Came::Data { stream, end, .. } => {
                assert!(!over.contains(&stream), "more of it comes after the reset");
                whole += usize::from(end);
            }
            Came::Head { .. } => {}
            Came::Reset { stream, code } => {
                assert_eq!(code, CANCEL);
                over.insert(stream);
                reset += 1;
            }
            // What the kernel had taken was given up too, when the client did not take it.
            Came::Closed => return,
            other => panic!("{other:?}"),
        }
    }
    assert!(reset > 0, "the kernel took all of them");
}

/// Its kernel has the answer long before it has read it, and the PINGs lie behind.
async fn slow_network_is_no_silence(longpoll: &str) {
    const LARGE: usize = 600_000;
    let detection = format!(
        "client_timeout = '{}s'
min_read_rate = '16KiB'
user_timeout = 'none'",
        STALLED.as_secs()
    );
    let server = Server::with_config(&config(longpoll, &detection, "")).await;
    let mut client = Frames::connect_slowly(server.address(), 1_000_000).await;
    client.get("/poll/q?wait=60").await;
    push(&server, &"x".repeat(LARGE)).await;
    let (mut data, start) = (0, Instant::now());
    loop {
        match client.next().await {
            Came::Data { bytes, end, .. } => {
                data += bytes;
                if end {
                    break;
                }
            }
            Came::Head { end: false, .. } => {}
            other => panic!("{other:?} after {data} bytes and {:?}", start.elapsed()),
        }
    }
    assert_eq!(data, LARGE);
    assert!(start.elapsed() > STALLED, "that was too fast to show anything");
    client.get("/poll/q?wait=0").await;
    assert!(matches!(client.next().await, Came::Head { .. }));
}
