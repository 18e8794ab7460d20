//! Full load with random hostile requests: memory stays flat, and no request is left behind. Minutes long, so it is run
//! by `make hostile` alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::harness::{Http1, Request, Server, eventually};

const CLIENTS: usize = 32;
/// One request in so many is hostile.
const HOSTILE: u32 = 10;
const WORST: [&str; 8] =
    ["/panic", "/panic-late", "/spin", "/allocate", "/recurse", "/take-panic/q", "/no-response", "/churn"];
/// What comes is healthy after this long at the latest, whatever the others do.
const PATIENCE: Duration = Duration::from_mins(1);
const DEFAULT_SECONDS: u64 = 600;

const CONFIG: &str = "limits.max_requests = 1000\n[apps.app]\ncomponent = '{faulty}'\n\
     max_log_lines = 10\ninstances.max = 200\ninstances.max_turn = '50ms'\ninstances.max_cpu = '200ms'\n\
     instances.max_memory = '16MiB'\n[[routes]]\napp = 'app'\ngrace = '200ms'\n";

#[tokio::test]
#[ignore = "takes minutes: run `make hostile`"]
async fn hostile_requests_leave_nothing_behind() {
    let seconds = std::env::var("LINGER_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS));
    let mut server = Server::with_config(CONFIG).await;
    let sockets = server.sockets();
    let counts = Arc::new(Counts::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let number = u32::try_from(number).unwrap();
        clients.spawn(attack(server.address(), number, end, counts.clone()));
    }
    let mut memory = Vec::new();
    while Instant::now() < end {
        sleep(Duration::from_secs(10)).await;
        memory.push(server.memory());
        server.assert_running();
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    println!("{counts:?}; memory {memory:?}");
    eventually("all connections have ended", async || (server.sockets() == sockets).then_some(())).await;
    server.get("/ok").await.expect(200);
    let (early, late) = memory.split_at(memory.len() / 2);
    let (early, late) = (early.iter().max().unwrap(), late.iter().max().unwrap());
    assert!(
        *late < early + early / 4,
        "memory grows: at most {early} in the first half, {late} in the second"
    );
}

#[derive(Debug, Default)]
struct Counts {
    healthy: AtomicUsize,
    /// Healthy requests that shared a trap and could not be repeated, or found no place.
    refused: AtomicUsize,
    hostile: AtomicUsize,
}

/// Sends requests one after the other. Every request is answered, or cut off where its guest failed under way.
async fn attack(server: SocketAddr, number: u32, end: Instant, counts: Arc<Counts>) {
    let mut random = number.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut client = Http1::connect(server).await;
    while Instant::now() < end {
        // Xorshift: good enough to be random, and the same in each run.
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        if random.is_multiple_of(HOSTILE) {
            let worst = WORST[random as usize / 16 % WORST.len()];
            if worst.starts_with("/take") {
                let mut pusher = Http1::connect(server).await;
                let _ = pusher.try_ask(&Request::post("/push/q", "an event")).await;
            }
            counts.hostile.fetch_add(1, Ordering::Relaxed);
            let answered = tokio::time::timeout(PATIENCE, client.try_ask(&Request::get(worst))).await;
            assert!(answered.is_ok(), "{worst} was not answered");
            // Whatever became of the connection.
            client = Http1::connect(server).await;
            continue;
        }
        let answered = tokio::time::timeout(PATIENCE, client.try_ask(&Request::get("/ok"))).await;
        match answered.expect("a healthy request was not answered") {
            Some(answer) if answer.status == 200 => counts.healthy.fetch_add(1, Ordering::Relaxed),
            _ => counts.refused.fetch_add(1, Ordering::Relaxed),
        };
    }
}
