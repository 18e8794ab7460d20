//! What a route says becomes of a guest whose client leaves.

use futures::future::join_all;

use crate::harness::{ADMIN, ClientLeave, H1, H2, Protocol, Request, Server, both, eventually, places};

/// One app, with a grace that no test would wait for.
async fn serve(app: &str, route: &str) -> Server {
    Server::with_config(&format!("{ADMIN}[apps.app]\n{app}[[routes]]\napp = 'app'\n{route}\n")).await
}

const CANCEL: &str = "grace = '1h'\non_disconnect = 'cancel'";

async fn plain_wait(on_disconnect: &str) -> Server {
    serve("component = '{plain-wait}'\n", on_disconnect).await
}

/// Waits for what the guest writes so many times.
async fn written(server: &Server, line: &str, times: usize) {
    eventually(line, async || (server.log.text().matches(line).count() >= times).then_some(())).await;
}

/// How many requests have begun.
async fn begun(server: &Server) -> u64 {
    let requests = &server.generations().await[0]["requests"];
    requests["running"].as_u64().unwrap() + requests["ended"].as_u64().unwrap()
}

/// Leaves when its request has begun: on a busy machine, one that leaves before is not heard of.
async fn waits_and_leaves(server: &Server, target: &str, protocol: Protocol) {
    let before = begun(server).await;
    let waiting = server.open(protocol, &Request::get(target)).await;
    eventually("it has begun", async || (begun(server).await > before).then_some(())).await;
    drop(waiting.leave(ClientLeave::Close).await);
}

both!("plain-wait", "faulty-p2": place_of_a_cancelled_call_is_free_at_once);

async fn place_of_a_cancelled_call_is_free_at_once(component: &str) {
    let (waits, answers) = if component == "plain-wait" { ("/wait", "/") } else { ("/hang", "/ok") };
    let server = serve(&places(component, 1), CANCEL).await;
    for protocol in [H1, H2] {
        let waiting = server.occupy(protocol, waits, answers).await;
        drop(waiting.leave(ClientLeave::Reset).await);
        eventually("the place is free", async || (server.get(answers).await.status == 200).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn destructors_of_a_cancelled_call_run_and_siblings_wait_on() {
    let server = plain_wait(CANCEL).await;
    let siblings =
        [server.park(H1, &Request::get("/wait")).await, server.park(H2, &Request::get("/wait")).await];
    for number in 1..=20 {
        waits_and_leaves(&server, "/wait", if number % 2 == 0 { H1 } else { H2 }).await;
        written(&server, "dropped in time", number).await;
    }
    for (number, sibling) in siblings.into_iter().enumerate() {
        drop(sibling.leave(ClientLeave::Close).await);
        written(&server, "dropped in time", 21 + number).await;
    }
    let log = server.log.text();
    assert!(!log.contains("trapped") && !log.contains("continues to run"), "{log}");
}

#[tokio::test]
async fn guest_that_traps_when_it_is_cancelled_takes_nobody_along() {
    let server = plain_wait(CANCEL).await;
    // It would be repeated if it were a GET, and nobody would see that it was hit.
    let sibling = server.park(H1, &Request::post("/wait", "")).await;
    waits_and_leaves(&server, "/wait-trap", H1).await;
    server.log.line(&["traps when a call is cancelled", "inter-task-wakeup", "app=\"app\""]).await;
    for _ in 0..10 {
        waits_and_leaves(&server, "/wait-trap", H2).await;
    }
    server.get("/").await.expect(200);
    let log = server.log.text();
    assert_eq!(log.matches("guest trapped").count(), 1, "{log}");
    drop(sibling);
}

#[tokio::test]
async fn detached_guest_works_to_its_end() {
    let server = plain_wait("grace = '100ms'\non_disconnect = 'detach'").await;
    waits_and_leaves(&server, "/work", H1).await;
    waits_and_leaves(&server, "/work", H2).await;
    written(&server, "worked to its end", 2).await;
}

#[tokio::test]
async fn guest_that_is_not_detached_has_its_grace_only() {
    let server = plain_wait("grace = '100ms'").await;
    waits_and_leaves(&server, "/work", H1).await;
    server.log.line(&["guest continues to run after its request has ended"]).await;
}

#[tokio::test]
async fn detached_guest_is_stopped_after_its_deadline() {
    let server = serve(
        // A probe that is refused should be so before the deadline.
        &format!("{}instances.queue_timeout = '20ms'\n", places("plain-wait", 1)),
        "deadline = '1s'\ngrace = '100ms'\non_disconnect = 'detach'",
    )
    .await;
    let waiting = server.occupy(H1, "/wait", "/").await;
    drop(waiting.leave(ClientLeave::Close).await);
    eventually("the place is free", async || (server.get("/").await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn detached_guest_gets_no_more_events() {
    let server = serve("component = '{faulty}'\n", "on_disconnect = 'detach'").await;
    waits_and_leaves(&server, "/park/q", H1).await;
    server.send(H1, &Request::post("/push/q", "for the next one")).await.expect(204);
    assert_eq!(server.get("/park/q").await.expect(200), "for the next one");
}

/// Only for this host calls are cancelled.
const CANCELLED: &str = "cancelled.example";

async fn serve_both_kinds(component: &str, limits: &str) -> Server {
    // A request that waits in vain should fail for that.
    let app = format!("[apps.app]\ncomponent = '{{{component}}}'\ninstances.queue_timeout = '20s'\n{limits}");
    let plain = "[[routes]]\napp = 'app'\ngrace = '1h'\n";
    let cancelled = format!("[[routes]]\napp = 'app'\nhost = '{CANCELLED}'\n{CANCEL}\n");
    Server::with_config(&format!("threads = 2\n{ADMIN}{app}{plain}{cancelled}")).await
}

fn both_kinds(target: &str) -> [Request; 2] {
    [Request::get(target), Request::get(target).host(CANCELLED)]
}

#[tokio::test]
async fn idle_instance_of_one_kind_makes_room_for_the_other() {
    let server = serve_both_kinds("plain-wait", "instances.max = 1\n").await;
    for protocol in [H1, H2, H1, H2] {
        for request in both_kinds("/") {
            server.send(protocol, &request).await.expect(200);
            assert_eq!(server.instances().await, 1);
        }
    }
}

#[tokio::test]
async fn busy_instance_of_one_kind_makes_room_once_it_is_idle() {
    let server = serve_both_kinds("plain-wait", "instances.max = 1\n").await;
    let ([plain_work, cancelled_work], [plain, cancelled]) = (both_kinds("/work"), both_kinds("/"));
    for (works, waits) in [(plain_work, cancelled), (cancelled_work, plain)] {
        let before = begun(&server).await;
        let working = server.open(H1, &works).await;
        eventually("it has begun", async || (begun(&server).await > before).then_some(())).await;
        server.send(H2, &waits).await.expect(200);
        working.answer().await.expect(200);
    }
}

#[tokio::test]
async fn both_kinds_of_instances_share_the_places() {
    for most in [1, 2, 3] {
        let limits = format!("instances.max = {most}\ninstances.max_requests = 1\n");
        let server = serve_both_kinds("plain-wait", &limits).await;
        let [plain, cancelled] = both_kinds("/");
        let ask = async |number: usize| {
            let request = if number.is_multiple_of(2) { &plain } else { &cancelled };
            server.send(if number.is_multiple_of(3) { H1 } else { H2 }, request).await.expect(200);
            let instances = server.instances().await;
            assert!(instances <= most, "{instances} of {most}");
        };
        join_all((0..40).map(ask)).await;
    }
}

#[tokio::test]
async fn instance_that_there_is_room_for_is_for_all_who_wait() {
    let server = serve_both_kinds("longpoll", "instances.max = 1\n").await;
    let [_, cancelled] = both_kinds("/poll/q?wait=60");
    server.get("/poll/q?wait=0").await.expect(204);
    let mut polls = Vec::new();
    for protocol in [H1, H2].into_iter().cycle().take(10) {
        polls.push(server.open(protocol, &cancelled).await);
    }
    let waiting = async || server.shown("/queues").await["queues"][0]["waiting"].as_u64();
    eventually("all wait in the guest", async || (waiting().await == Some(10)).then_some(())).await;
    for poll in polls {
        drop(poll.leave(ClientLeave::Close).await);
    }
}
