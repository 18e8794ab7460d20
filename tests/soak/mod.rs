//! Many clients that leave in random ways, beside some that stay: nothing is lost, and nothing is left over.
//! Minutes long, so it is run by `make soak` alone.

mod leaver;
mod ledger;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::harness::{Certificate, Door, H1, H2, Http1, Request, Server, eventually, soon};
use leaver::{Doors, FLAG, Leaver, MANNERS};
use ledger::SoakLedger;

const LEAVERS: usize = 20_000;
/// Between two that come.
const PACE: Duration = Duration::from_millis(10);
const OPEN_AT_ONCE: usize = 1_000;
const QUEUES: usize = 10;
const POLLERS: usize = 20;
const BETWEEN_EVENTS: Duration = Duration::from_millis(20);
const BETWEEN_SAMPLES: Duration = Duration::from_secs(10);

/// As many places of each kind as are filled at the end: one that was not given back would be missed.
const PLACES: usize = 1_200;

/// One event in so many is larger than the windows of a client that takes little.
const LARGE_IS: usize = 8;
const LARGE: usize = 150_000;

/// A leaver goes at once when it is answered; on a machine that stands still for a second, not within a second.
/// All are one client here.
fn config(certificate: &Certificate) -> String {
    format!(
        "limits.max_connections = {PLACES}\nlimits.max_requests = {PLACES}\n\
         limits.max_connections_per_client = {PLACES}\nlimits.max_requests_per_client = {PLACES}\n\
         detection.confirm_window = '5s'\n\
         [[listeners]]\naddress = '127.0.0.1:0'\n\
         [[listeners]]\naddress = '127.0.0.1:0'\ntls = {{ certificate = '{}', key = '{}' }}\n\
         [[routes]]\napp = 'app'\npath = '/'\n[[routes]]\napp = 'taker'\npath = '/take'\n\
         [apps.taker]\ncomponent = '{{taker}}'\n\
         [apps.app]\ncomponent = '{{longpoll}}'\n\
         instances.max = 2\ninstances.max_requests = {}\n",
        certificate.file().display(),
        certificate.key().display(),
        PLACES / 2
    )
}

#[tokio::test]
#[ignore = "takes minutes: run `make soak`"]
async fn twenty_thousand_leave_and_nothing_is_lost_or_left_over() {
    let certificate = Certificate::new();
    let mut server = Server::with_config(&config(&certificate)).await;
    let encrypted = server.encrypted_address().await;
    let doors = Doors {
        plain: Door::plain(server.address()),
        tls_http1: Door::tls(encrypted, &certificate, H1),
        tls_http2: Door::tls(encrypted, &certificate, H2),
    };
    drop(fill(&server).await);
    // An app has its image of memory from its first request on.
    server.get("/take/none?wait=0").await.expect(204);
    let before = settled_descriptors(&server).await;
    let ledger = Arc::new(SoakLedger::default());
    let (stop, enough) = (CancellationToken::new(), CancellationToken::new());
    let mut pollers = JoinSet::new();
    for number in 0..POLLERS {
        pollers.spawn(stay(server.address(), number % QUEUES, ledger.clone(), stop.clone()));
    }
    let mut pusher = JoinSet::new();
    pusher.spawn(push(server.address(), ledger.clone(), enough.clone()));
    let memory = leave(&server, &doors, &ledger).await;
    // In order: what was sent and not answered may or may not be there.
    enough.cancel();
    while let Some(ended) = pusher.join_next().await {
        ended.unwrap();
    }

    // Whatever came back is taken by those who stay.
    let drained = timeout(Duration::from_secs(30), async {
        while !ledger.missing().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let drained = drained.await.is_ok();
    println!("{ledger}");
    assert!(drained, "events are lost: {:?}", ledger.missing());
    stop.cancel();
    while let Some(ended) = pollers.join_next().await {
        ended.unwrap();
    }
    let after = settled_descriptors(&server).await;
    println!("descriptors: {before} before, {after} after");
    assert!(after <= before, "files are left open: {before} before, {after} after");
    check_memory(&memory);

    // All places are there yet: of connections, of requests and of instances.
    let full = fill(&server).await;
    println!("{PLACES} connections, requests and places in instances can be taken again");
    drop(full);
    settled_descriptors(&server).await;
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert!(server.exit().await.success());
    println!("stopped after {:.1?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5), "something goes on");
    assert!(!server.log.text().contains("stopped with requests"), "{}", server.log.text());
    assert!(!server.log.text().contains("bug in Linger"), "{}", server.log.text());
}

/// Sends all leavers, and says how much memory the server had meanwhile.
async fn leave(server: &Server, doors: &Doors, ledger: &Arc<SoakLedger>) -> Vec<u64> {
    let open = Arc::new(Semaphore::new(OPEN_AT_ONCE));
    let mut leavers = JoinSet::new();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (start, mut sampled, mut memory) = (Instant::now(), Instant::now(), Vec::new());
    for number in 0..LEAVERS {
        pace.tick().await;
        let permit = open.clone().acquire_owned().await.unwrap();
        let leaver = Leaver::new(number, QUEUES);
        let (doors, ledger) = (doors.clone(), ledger.clone());
        leavers.spawn(async move {
            leaver.run(&doors, &ledger).await;
            drop(permit);
        });
        while let Some(ended) = leavers.try_join_next() {
            ended.unwrap();
        }
        if sampled.elapsed() >= BETWEEN_SAMPLES {
            sampled = Instant::now();
            memory.push(server.memory());
            let (seconds, kib, files) =
                (start.elapsed().as_secs(), server.memory() / 1024, server.descriptors());
            println!("{seconds:>4} s: {number:>6} came, {files:>5} descriptors, {kib:>8} KiB");
        }
    }
    while let Some(ended) = leavers.join_next().await {
        ended.unwrap();
    }
    println!("{LEAVERS} have left in {MANNERS} manners, in {:.0?}", start.elapsed());
    memory
}

/// Polls a queue as a client should, until it is told to stop.
async fn stay(address: SocketAddr, queue: usize, ledger: Arc<SoakLedger>, stop: CancellationToken) {
    let mut client = Http1::connect(address).await;
    let poll = Request::get(&format!("/poll/{queue}?wait=1"));
    while !stop.is_cancelled() {
        let answer = client.ask(&poll).await;
        if answer.status != 204 {
            ledger.read(answer.expect(200), answer.header(FLAG).is_some());
        }
    }
}

/// Pushes numbered events, each to the next queue, until there are enough.
async fn push(address: SocketAddr, ledger: Arc<SoakLedger>, enough: CancellationToken) {
    let mut client = Http1::connect(address).await;
    let mut pace = interval(BETWEEN_EVENTS);
    for number in 0.. {
        pace.tick().await;
        if enough.is_cancelled() {
            return;
        }
        // Somebody may read it before the push is answered.
        ledger.pushed(number);
        let length = if number % LARGE_IS == 0 { LARGE } else { 0 };
        let event = format!("event {number}.{}", "x".repeat(length));
        let request = Request::post(&format!("/push/{}", number % QUEUES), event);
        client.ask(&request).await.expect(202);
    }
}

/// Takes all places at once.
async fn fill(server: &Server) -> Vec<Http1> {
    let mut clients = Vec::with_capacity(PLACES);
    for number in 0..PLACES {
        let poll = Request::get(&format!("/poll/none-{number}?wait=8"));
        clients.push(Http1::open(server.address(), &poll).await);
    }
    for client in &mut clients {
        // Neither refused nor kept waiting for a place.
        client.answer().await.expect(204);
    }
    clients
}

/// How many files the server has open, once it has noticed that all clients have left.
async fn settled_descriptors(server: &Server) -> usize {
    let mut least = usize::MAX;
    soon("the server closes what is over", async {
        let mut same = 0;
        while same < 20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = server.descriptors();
            same = if now < least { 0 } else { same + 1 };
            least = least.min(now);
        }
    })
    .await;
    eventually("it stays so", async || (server.descriptors() == least).then_some(())).await;
    least
}

/// After the first quarter it is flat.
fn check_memory(series: &[u64]) {
    let Some((&early, late)) = series.get(series.len() / 4).zip(series.get(series.len() * 3 / 4..)) else {
        return;
    };
    let late = late.iter().sum::<u64>() / late.len().max(1) as u64;
    println!("memory: {} KiB after the first quarter, {} KiB in the last", early / 1024, late / 1024);
    assert!(late <= early + early / 5, "memory grows: {series:?}");
}
