//! No event is lost with a client, and none comes twice.

use crate::harness::{
    ClientLeave, H1, Http1, Open, Protocol, Request, Server, both, combinations, eventually, places,
};

combinations!("longpoll", "longpoll-p2":
    close_while_parked_leaves_the_event_for_the_next,
    reset_while_parked_leaves_the_event_for_the_next,
    close_right_after_the_request_leaves_the_event_for_the_next,
    reset_right_after_the_request_leaves_the_event_for_the_next,
    event_of_a_client_that_left_reaches_a_parked_poll,
    push_that_breaks_off_stores_nothing,
);

both!("faulty", "faulty-p2":
    trap_with_an_event_in_hand_puts_it_back,
    client_that_reads_half_an_event_leaves_it_for_the_next,
    deadline_half_way_through_an_event_puts_it_back,
    order_stays_when_an_event_is_put_back,
);

both!("longpoll", "longpoll-p2": half_of_five_hundred_leave_and_are_told_and_the_others_are_answered);

const ROUNDS: usize = 200;

/// Polls that are parked at a time.
const BATCH: usize = 10;

async fn close_while_parked_leaves_the_event_for_the_next(server: Server, protocol: Protocol) {
    parked_clients_leave(&server, protocol, ClientLeave::Close).await;
}

async fn reset_while_parked_leaves_the_event_for_the_next(server: Server, protocol: Protocol) {
    parked_clients_leave(&server, protocol, ClientLeave::Reset).await;
}

async fn parked_clients_leave(server: &Server, protocol: Protocol, how: ClientLeave) {
    let mut client = Http1::connect(server.address()).await;
    for batch in 0..ROUNDS / BATCH {
        let mut polls = Vec::new();
        for place in 0..BATCH {
            let request = Request::get(&format!("/poll/q{place}?wait=60"));
            polls.push((format!("q{place}"), server.open(protocol, &request).await));
        }
        server.overtake().await;
        for (queue, poll) in polls {
            // An event without a single byte is one too.
            let event = if queue == "q0" { String::new() } else { format!("{batch} of {queue}") };
            leave_and_push(&mut client, poll, how, &queue, &event).await;
        }
    }
    for place in 0..BATCH {
        client.ask(&Request::get(&format!("/poll/q{place}?wait=0"))).await.expect(204);
    }
}

async fn close_right_after_the_request_leaves_the_event_for_the_next(server: Server, protocol: Protocol) {
    clients_leave_at_once(&server, protocol, ClientLeave::Close).await;
}

async fn reset_right_after_the_request_leaves_the_event_for_the_next(server: Server, protocol: Protocol) {
    clients_leave_at_once(&server, protocol, ClientLeave::Reset).await;
}

async fn clients_leave_at_once(server: &Server, protocol: Protocol, how: ClientLeave) {
    let mut client = Http1::connect(server.address()).await;
    for round in 0..ROUNDS {
        let poll = server.open(protocol, &Request::get("/poll/q?wait=60")).await;
        leave_and_push(&mut client, poll, how, "q", &round.to_string()).await;
    }
    client.ask(&Request::get("/poll/q?wait=0")).await.expect(204);
}

/// A poll leaves, and an event comes right after: the next poll gets it, and gets nothing else.
async fn leave_and_push(client: &mut Http1, poll: Open, how: ClientLeave, queue: &str, event: &str) {
    let connection = poll.leave(how).await;
    client.ask(&Request::post(&format!("/push/{queue}"), event.to_owned())).await.expect(202);
    let answer = client.ask(&Request::get(&format!("/poll/{queue}?wait=10"))).await;
    assert_eq!(answer.status, 200, "event {event:?} of {queue} is lost");
    assert_eq!(answer.text(), event);
    drop(connection);
}

async fn event_of_a_client_that_left_reaches_a_parked_poll(server: Server, protocol: Protocol) {
    let mut client = Http1::connect(server.address()).await;
    for round in 0..20 {
        let first = server.open(protocol, &Request::get("/poll/q?wait=60")).await;
        server.overtake().await;
        let second = server.open(protocol, &Request::get("/poll/q?wait=10")).await;
        server.overtake().await;
        let connection = first.leave(ClientLeave::Close).await;
        client.ask(&Request::post("/push/q", round.to_string())).await.expect(202);
        assert_eq!(second.answer().await.expect(200), round.to_string());
        drop(connection);
    }
}

/// There are as many places as clients, and a guest that is not told keeps its own until all of this is over.
async fn half_of_five_hundred_leave_and_are_told_and_the_others_are_answered(component: &str) {
    const CLIENTS: usize = 500;
    let server = Server::with_config(&format!(
        "[apps.app]\n{}[apps.pushes]\ncomponent = '{{{component}}}'\n\
         [[routes]]\napp = 'app'\ngrace = '60s'\n[[routes]]\napp = 'pushes'\npath = '/push'\n",
        places(component, CLIENTS)
    ))
    .await;
    let park = async |queue: &str| server.open(H1, &Request::get(&format!("/poll/{queue}?wait=60"))).await;
    let polls = server.fill(CLIENTS, "/nothing", async |number| park(&format!("q{number}")).await).await;
    let mut stayed = Vec::new();
    for (number, poll) in polls.into_iter().enumerate() {
        if number % 2 == 0 {
            let _ = poll.leave(ClientLeave::Close).await;
        } else {
            stayed.push((format!("q{number}"), poll));
        }
    }
    // There is room for as many others as have left.
    let others = server.fill(CLIENTS / 2, "/nothing", async |number| park(&format!("r{number}")).await).await;
    stayed.extend(others.into_iter().enumerate().map(|(number, poll)| (format!("r{number}"), poll)));
    let mut client = Http1::connect(server.address()).await;
    for (queue, _) in &stayed {
        client.ask(&Request::post(&format!("/push/{queue}"), queue.clone())).await.expect(202);
    }
    for (queue, poll) in stayed {
        assert_eq!(poll.answer().await.expect(200), queue);
    }
}

#[tokio::test]
async fn client_that_left_before_its_request_began_is_noticed() {
    const CLIENTS: usize = 50;
    let server = Server::start("longpoll").await;
    // More than hyper reads at a time, so that it does not see the end behind them.
    let many = "GET /poll/q?wait=60 HTTP/1.1\r\nhost: h\r\n\r\n".repeat(2_000);
    for _ in 0..CLIENTS {
        let mut client = Http1::connect(server.address()).await;
        client.send(&many).await;
        drop(client);
    }
    eventually("all clients are known to have left", async || {
        (server.log.text().matches("the client disconnected").count() >= CLIENTS).then_some(())
    })
    .await;
}

async fn push_that_breaks_off_stores_nothing(server: Server, protocol: Protocol) {
    match protocol {
        Protocol::Http1 => {
            for head in ["content-length: 10\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
            {
                let mut client = Http1::connect(server.address()).await;
                client.send(format!("POST /push/q HTTP/1.1\r\nhost: x\r\n{head}")).await;
                server.overtake().await;
            }
        }
        Protocol::Http2 => {
            let mut client = crate::harness::Http2::connect(server.address()).await;
            let mut stream = client.start(&Request::post("/push/q", ""), false).await;
            stream.split().0.data(b"half", false).await;
            server.overtake().await;
            stream.split().0.reset().await;
            let mut stream = client.start(&Request::post("/push/q", ""), false).await;
            stream.split().0.data(b"half", false).await;
            client.close().await;
        }
    }
    server.overtake().await;
    server.get("/poll/q?wait=1").await.expect(204);
}

/// `longpoll` for the queues, and beside it an app that fails.
async fn with_longpoll(faulty: &str, route: &str) -> Server {
    Server::with_config(&format!(
        "[apps.longpoll]\ncomponent = '{{longpoll}}'\n[apps.faulty]\ncomponent = '{{{faulty}}}'\n\
         [[routes]]\napp = 'faulty'\n{route}\n\
         [[routes]]\napp = 'longpoll'\npath = '/poll'\n[[routes]]\napp = 'longpoll'\npath = '/push'\n"
    ))
    .await
}

async fn push(server: &Server, queue: &str, data: &str) {
    server.send(H1, &Request::post(&format!("/push/{queue}"), data.to_owned())).await.expect(202);
}

async fn trap_with_an_event_in_hand_puts_it_back(faulty: &str) {
    let server = with_longpoll(faulty, "").await;
    push(&server, "q", "precious").await;
    for _ in 0..3 {
        server.get("/take-panic/q").await.expect(500);
    }
    assert_eq!(server.get("/poll/q?wait=10").await.expect(200), "precious");
    server.get("/poll/q?wait=0").await.expect(204);
}

async fn client_that_reads_half_an_event_leaves_it_for_the_next(faulty: &str) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for how in [ClientLeave::Close, ClientLeave::Reset] {
            let server = with_longpoll(faulty, "").await;
            push(&server, "q", "precious").await;
            let mut half = server.open(protocol, &Request::get("/take-hold/q")).await;
            assert_eq!(half.head().await.status, 200);
            assert_eq!(half.chunk().await.unwrap().unwrap(), "prec");
            // It is somebody's, for now.
            server.get("/poll/q?wait=0").await.expect(204);
            let connection = half.leave(how).await;
            let answer = server.get("/poll/q?wait=10").await;
            assert_eq!(answer.status, 200, "{protocol:?} {how:?}: the event is lost");
            assert_eq!(answer.text(), "precious");
            drop(connection);
        }
    }
}

async fn deadline_half_way_through_an_event_puts_it_back(faulty: &str) {
    let server = with_longpoll(faulty, "deadline = '300ms'\ngrace = '300ms'").await;
    push(&server, "q", "precious").await;
    let mut half = server.open(H1, &Request::get("/take-hold/q")).await;
    assert!(half.try_answer().await.is_err(), "the response ended in order");
    assert_eq!(server.get("/poll/q?wait=10").await.expect(200), "precious");
}

async fn order_stays_when_an_event_is_put_back(faulty: &str) {
    let server = with_longpoll(faulty, "").await;
    for number in 0..3 {
        push(&server, "q", &number.to_string()).await;
    }
    server.get("/take-panic/q").await.expect(500);
    for number in 0..3 {
        assert_eq!(server.get("/poll/q?wait=10").await.expect(200), number.to_string());
    }
}
