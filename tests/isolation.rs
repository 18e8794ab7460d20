//! A guest does its worst: those who are in the same instance get what they came for.

use std::time::Duration;

use crate::harness::{H1, H2, Open, Protocol, Request, Server, both, eventually, soon};

/// So many share the instance with the guest that fails.
const SIBLINGS: usize = 50;

/// A turn that is over soon.
const LIMITS: &str = "instances.max_turn = '200ms'\ninstances.max_memory = '64MiB'\n";

both!("faulty", "faulty-p2":
    guest_that_spins_is_stopped_after_its_turn,
    guest_that_pauses_is_stopped_after_its_share,
    guest_that_allocates_is_stopped_at_its_limit,
    guest_that_recurses_is_stopped,
    guest_that_floods_its_log_loses_lines,
);

async fn serve(faulty: &str, more: &str) -> Server {
    // Pushes are not safe to repeat, so they go to an app of their own.
    Server::with_config(&format!(
        "[apps.app]\ncomponent = '{{{faulty}}}'\n{LIMITS}{more}\
         [apps.pushes]\ncomponent = '{{longpoll}}'\n\
         [[routes]]\napp = 'app'\n[[routes]]\napp = 'pushes'\npath = '/push'\n"
    ))
    .await
}

async fn guest_that_spins_is_stopped_after_its_turn(faulty: &str) {
    let server = serve(faulty, "").await;
    server.get("/spin").await.expect(500);
    server.log.line(&["guest stopped", "200ms", "instances.max_turn", "app=\"app\""]).await;
    assert_eq!(server.get("/ok").await.expect(200), "ok\n");
}

async fn guest_that_pauses_is_stopped_after_its_share(faulty: &str) {
    let server = serve(faulty, "instances.max_cpu = '400ms'\n").await;
    server.get("/churn").await.expect(500);
    server.log.line(&["guest stopped", "400ms", "instances.max_cpu", "app=\"app\""]).await;
    assert_eq!(server.get("/ok").await.expect(200), "ok\n");
}

async fn guest_that_allocates_is_stopped_at_its_limit(faulty: &str) {
    let server = serve(faulty, "").await;
    server.get("/allocate").await.expect(500);
    assert_eq!(server.get("/ok").await.expect(200), "ok\n");
}

async fn guest_that_recurses_is_stopped(faulty: &str) {
    let server = serve(faulty, "").await;
    server.get("/recurse").await.expect(500);
    server.log.line(&["call stack exhausted"]).await;
    assert_eq!(server.get("/ok").await.expect(200), "ok\n");
}

async fn guest_that_floods_its_log_loses_lines(faulty: &str) {
    let server = serve(faulty, "max_log_lines = 10\n").await;
    assert_eq!(server.get("/flood").await.expect(200), "flooded\n");
    server.log.line(&["guests write more than max_log_lines = 10", "app=\"app\""]).await;
    let lines = server.log.text().matches("line ").count();
    assert!(lines < 1000, "{lines} of 10,000 lines were logged");
}

/// Each is parked for an event of its own, in an instance that all share on a core.
async fn siblings(server: &Server, protocol: Protocol) -> Vec<Open> {
    let mut parked = Vec::new();
    for number in 0..SIBLINGS {
        parked.push(server.open(protocol, &Request::get(&format!("/park/{number}"))).await);
    }
    server.overtake().await;
    parked
}

/// Each gets its event, soon.
async fn all_get_theirs(server: &Server, parked: Vec<Open>) {
    for number in 0..SIBLINGS {
        server
            .send(H1, &Request::post(&format!("/push/{number}"), format!("event {number}")))
            .await
            .expect(202);
    }
    for (number, sibling) in parked.into_iter().enumerate() {
        let answer = soon("the event of a sibling", sibling.answer()).await;
        assert_eq!(answer.expect(200), format!("event {number}"));
    }
}

/// The hostile requests go to each core: connections are spread over them.
async fn hostile(server: &Server, target: &str) {
    let threads = std::thread::available_parallelism().unwrap().get();
    let mut requests = Vec::new();
    for _ in 0..2 * threads {
        requests.push(server.open(H1, &Request::get(target)).await);
    }
    for request in requests {
        request.answer().await.expect(500);
    }
}

async fn siblings_survive(target: &str, protocol: Protocol) {
    let server = serve("faulty", "").await;
    let parked = siblings(&server, protocol).await;
    hostile(&server, target).await;
    all_get_theirs(&server, parked).await;
}

macro_rules! siblings_survive {
    ($($name:ident: $target:literal),* $(,)?) => { $(
        mod $name {
            use crate::harness::{H1, H2};

            #[tokio::test]
            async fn http1() {
                super::siblings_survive($target, H1).await;
            }

            #[tokio::test]
            async fn http2() {
                super::siblings_survive($target, H2).await;
            }
        }
    )* };
}

siblings_survive! {
    siblings_survive_a_trap: "/panic",
    siblings_survive_a_spin: "/spin",
    siblings_survive_an_allocation_without_end: "/allocate",
    siblings_survive_a_recursion_without_end: "/recurse",
}

#[tokio::test]
async fn event_taken_by_who_trapped_goes_to_its_next_taker() {
    let server = serve("faulty", "").await;
    let parked = siblings(&server, H1).await;
    let taker = server.open(H1, &Request::get("/take-panic/mine")).await;
    server.send(H1, &Request::post("/push/mine", "an event")).await.expect(202);
    taker.answer().await.expect(500);
    let next = server.get("/park/mine").await;
    assert_eq!(next.expect(200), "an event");
    all_get_theirs(&server, parked).await;
}

#[tokio::test]
async fn post_that_shares_an_instance_with_a_trap_is_not_repeated() {
    let server = serve("faulty", "").await;
    // One core may have both, or neither: then nothing happened to it.
    let waiting = server.open(H1, &Request::post("/park/late", "")).await;
    server.overtake().await;
    hostile(&server, "/panic").await;
    waiting.answer().await.expect(500);
}

#[tokio::test]
async fn frequent_traps_keep_requests_apart() {
    let server = serve("faulty", "").await;
    for _ in 0..5 {
        let parked = server.park(H2, &Request::get("/park/x")).await;
        hostile(&server, "/panic").await;
        drop(parked);
    }
    server.log.line(&["trap repeatedly", "app=\"app\""]).await;
    // From now on nobody else is hit.
    let waiting = server.open(H1, &Request::post("/park/late", "")).await;
    server.overtake().await;
    hostile(&server, "/panic").await;
    server.send(H1, &Request::post("/push/late", "in time")).await.expect(202);
    assert_eq!(waiting.answer().await.expect(200), "in time");
}

#[tokio::test]
async fn full_app_leaves_room_for_another() {
    let server = Server::with_config(
        "[apps.busy]\ncomponent = '{faulty}'\nmax_requests = 2\n[apps.hello]\ncomponent = '{hello}'\n\
         [[routes]]\napp = 'hello'\n[[routes]]\napp = 'busy'\npath = '/park'\n",
    )
    .await;
    let _parked =
        [server.park(H1, &Request::get("/park/a")).await, server.park(H2, &Request::get("/park/b")).await];
    let refused = eventually("the app is full", async || {
        let answer = tokio::time::timeout(Duration::from_millis(500), server.get("/park/c")).await;
        answer.ok()
    })
    .await;
    refused.expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    server.get("/").await.expect(200);
}
