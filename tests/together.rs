//! The deadline, an event and the client's close, all at one moment: each request has one outcome.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep_until};

use crate::harness::{ClientLeave, H1, Http1, Protocol, Request, Server, crossed, eventually, places};

crossed!("longpoll", "longpoll-p2":
    deadline_event_and_close_have_one_outcome,
);

const DEADLINE: Duration = Duration::from_millis(150);

/// How far from the deadline the client goes and the event comes, at most, to both sides.
const SPREAD: Duration = Duration::from_millis(6);

const ROUNDS: usize = 10;

/// Clients at a time, and one more place, for those that look on.
const CLIENTS: usize = 20;
const PLACES: usize = CLIENTS + 1;

async fn deadline_event_and_close_have_one_outcome(component: &str, protocol: Protocol) {
    let server = Server::with_config_and_access_log(&format!(
        "limits.max_requests = 100\n[apps.patient]\ncomponent = '{{longpoll}}'\n[apps.app]\n{}\
         [[routes]]\napp = 'app'\ndeadline = '{}ms'\n[[routes]]\napp = 'patient'\nhost = 'patient'\n",
        places(component, PLACES),
        DEADLINE.as_millis(),
    ))
    .await;
    for round in 0..ROUNDS {
        join_all((0..CLIENTS).map(|client| together(&server, protocol, round, client))).await;
    }
    // Every place is free again, and a request that was refused one would be 503.
    let idle = join_all((0..PLACES).map(|_| server.get("/poll/nothing?wait=60"))).await;
    assert!(idle.iter().all(|answer| answer.status == 204), "{idle:?}");
    // Receipts, and so the lines of some, come later. Of a client that left before its request was read there is none, which
    // happens where a machine stands still.
    eventually("each request is in the log", async || {
        (outcomes(&server.log.text()).len() >= ROUNDS * CLIENTS * 3).then_some(())
    })
    .await;
    assert_one_outcome_each(&server.log.text());
}

async fn together(server: &Server, protocol: Protocol, round: usize, client: usize) {
    let queue = format!("q{round}-{client}");
    let (poll, push) = (format!("/poll/{queue}?wait=60"), format!("/push/{queue}"));
    let mut producer = Http1::connect(server.address()).await;
    let doomed = server.open(protocol, &Request::get(&poll)).await;
    // Some go before the deadline and some after, and so do the events.
    let place = |number: usize, of: usize| {
        SPREAD * 2 * u32::try_from(number % of).unwrap() / u32::try_from(of - 1).unwrap()
    };
    let began = Instant::now();
    let around = |number, of| sleep_until(began + DEADLINE - SPREAD + place(number, of));
    let leave = async {
        around(round, 5).await;
        // A stream that has ended cannot be reset.
        let resets = protocol == Protocol::Http1 && client.is_multiple_of(2);
        doomed.leave(if resets { ClientLeave::Reset } else { ClientLeave::Close }).await
    };
    let store = async {
        around(client, CLIENTS).await;
        producer.ask(&Request::post(&push, queue.clone()).host("patient")).await.expect(202);
    };
    let (connection, ()) = tokio::join!(leave, store);
    // The client has read nothing, so whoever got it, it comes again. A library of HTTP/2 reads by itself.
    let next = Request::get(&format!("/poll/{queue}?wait=1")).host("patient");
    let again = server.send(H1, &next).await;
    if protocol == Protocol::Http1 || again.status != 204 {
        assert_eq!(again.expect(200), queue);
    }
    let none = Request::get(&format!("/poll/{queue}?wait=0")).host("patient");
    server.send(H1, &none).await.expect(204);
    drop(connection);
}

/// How often each request is in the log.
fn outcomes(log: &str) -> HashMap<&str, usize> {
    let mut outcomes = HashMap::new();
    for line in log.lines().filter(|line| line.contains(" took_us=")) {
        let (_, rest) = line.split_once("request=").expect(line);
        *outcomes.entry(rest.split_whitespace().next().unwrap()).or_default() += 1;
    }
    outcomes
}

/// The log has each request once, and no trap.
fn assert_one_outcome_each(log: &str) {
    let outcomes = outcomes(log);
    assert!(outcomes.values().all(|count| *count == 1), "{outcomes:?}");
    assert!(!log.contains("trap") && !log.contains("request failed"), "{log}");
}
