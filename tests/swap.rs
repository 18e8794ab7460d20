//! Swaps under load: no request fails, no event is lost, and every parked poll is answered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::harness::{H1, H2, Http1, KeptConnection, Protocol, Request, Server, component, eventually, text};

/// How many swaps there are where nothing else is said, and parked polls beside.
const SWAPS: usize = 10;
const PARKED: usize = 200;

/// Clients that push, those that poll, and those that want to be greeted, half of them with each protocol.
const PRODUCERS: usize = 2;
const CONSUMERS: usize = 8;
const GREETED: usize = 4;

/// Two versions of another app, swapped at the same time, and what they answer.
const GREETERS: [(&str, &str); 2] = [("hello", "Hello, world!\n"), ("plain-p3", "plain-p3\n")];

/// What a swap leaves its clients to do.
const BETWEEN: Duration = Duration::from_millis(200);

/// After this long every parked poll of the old generation has its answer.
const TOLD: Duration = Duration::from_secs(1);

/// What has come and gone.
#[derive(Default)]
struct SwapLedger {
    pushed: AtomicUsize,
    read: AtomicUsize,
    /// Answers that say that there was nothing, as a poll that is replaced does.
    nothing: AtomicUsize,
    /// Greetings, and how many switches of the greeter were asked for, and have come back.
    greeted: AtomicUsize,
    asked: AtomicUsize,
    switched: AtomicUsize,
    stop: AtomicBool,
}

#[tokio::test]
async fn swaps_under_load_lose_nothing() {
    swap(SWAPS, PARKED, [component("longpoll"), component("longpoll-p2")]).await;
}

#[tokio::test]
#[ignore = "takes minutes: run `make swaps`"]
async fn many_swaps_under_load_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // With WASI 0.2 each parked poll would need an instance of its own. So it is the same with a note at its end: a custom
    // section without a name.
    let other = folder.path().join("other.wasm");
    let mut bytes = std::fs::read(component("longpoll")).unwrap();
    bytes.extend([0, 1, 0]);
    std::fs::write(&other, bytes).unwrap();
    swap(200, 2_000, [component("longpoll"), other]).await;
}

/// Swaps the two in turn.
pub(crate) async fn swap(swaps: usize, parked: usize, versions: [PathBuf; 2]) {
    let server = Server::with_config(
        "[admin]\nlisten = 'unix:admin.sock'\n[apps.app]\ncomponent = '{longpoll}'\n\
         instances.max_requests = 1000\n[apps.app.probe]\npath = '/poll/probe?wait=0'\nstatus = 204\n\
         [apps.greeter]\ncomponent = '{hello}'\n\
         [[routes]]\napp = 'app'\n[[routes]]\napp = 'greeter'\nhost = 'greeter.example'\n",
    )
    .await;
    let ledger = Arc::new(SwapLedger::default());
    let mut clients = JoinSet::new();
    for number in 0..PRODUCERS {
        clients.spawn(produce(server.address(), number, ledger.clone()));
    }
    for number in 0..CONSUMERS {
        clients.spawn(consume(server.address(), number, ledger.clone()));
    }
    for number in 0..GREETED {
        clients.spawn(be_greeted(server.address(), number, ledger.clone()));
    }
    let mut memory = Vec::new();
    for number in 0..swaps {
        let polls = park(server.address(), parked).await;
        let output = server.deploy_file(&versions[(number + 1) % 2]).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        let switched = Instant::now();
        switch_greeter(&server, &ledger).await;
        for (index, mut poll) in polls.into_iter().enumerate() {
            let answer = poll.answer().await;
            answer.expect(204);
            assert!(
                switched.elapsed() < TOLD || index == 0,
                "poll {index} is told after {:?}",
                switched.elapsed()
            );
        }
        sleep(BETWEEN).await;
        memory.push(server.memory());
    }
    ledger.stop.store(true, Ordering::Release);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    // What no consumer has read yet is still there.
    let mut rest = Http1::connect(server.address()).await;
    while rest.ask(&Request::get("/poll/events?wait=0")).await.status == 200 {
        ledger.read.fetch_add(1, Ordering::Relaxed);
    }
    let (pushed, read) = (ledger.pushed.load(Ordering::Acquire), ledger.read.load(Ordering::Acquire));
    println!(
        "{swaps} swaps: {pushed} events pushed, {read} read, {} polls without one; {} greetings; memory {memory:?}",
        ledger.nothing.load(Ordering::Relaxed),
        ledger.greeted.load(Ordering::Relaxed)
    );
    assert!(pushed > swaps, "the producers did nothing");
    assert_eq!(pushed, read);
    assert_ended(&server).await;
}

/// All generations but two have ended.
async fn assert_ended(server: &Server) {
    eventually("the old generations have ended", async || {
        let states = states(server).await;
        let count = |state: &str| states.get(state).copied().unwrap_or(0);
        (count("draining") == 0 && count("current") == 1 && count("previous") == 1).then_some(())
    })
    .await;
}

async fn states(server: &Server) -> HashMap<String, usize> {
    let mut states = HashMap::new();
    for generation in server.generations().await {
        *states.entry(generation["state"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    states
}

/// Polls that wait in the generation that serves.
async fn park(address: SocketAddr, count: usize) -> Vec<Http1> {
    let mut polls = Vec::with_capacity(count);
    for number in 0..count {
        polls
            .push(Http1::open(address, &Request::get(&format!("/poll/parked{}?wait=60", number % 50))).await);
    }
    // Those have gone the whole way since.
    for _ in 0..2 {
        Http1::connect(address).await.ask(&Request::get("/poll/overtaker?wait=0")).await.expect(204);
    }
    polls
}

async fn produce(address: SocketAddr, number: usize, ledger: Arc<SwapLedger>) {
    let mut client = KeptConnection::connect(protocol(number), address).await;
    while !ledger.stop.load(Ordering::Acquire) {
        client.ask(&Request::post("/push/events", "an event")).await.expect(202);
        ledger.pushed.fetch_add(1, Ordering::AcqRel);
    }
}

async fn switch_greeter(server: &Server, ledger: &SwapLedger) {
    let next = ledger.asked.fetch_add(1, Ordering::AcqRel) + 1;
    let file = component(GREETERS[next % 2].0);
    let output = server.operate(&["deploy", file.to_str().unwrap(), "--app", "greeter"]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    ledger.switched.fetch_add(1, Ordering::AcqRel);
}

/// What was asked before the switch may be answered by either, what is asked after it by the new one alone.
async fn be_greeted(address: SocketAddr, number: usize, ledger: Arc<SwapLedger>) {
    let mut client = KeptConnection::connect(protocol(number), address).await;
    while !ledger.stop.load(Ordering::Acquire) {
        let switched = ledger.switched.load(Ordering::Acquire);
        let answer = client.ask(&Request::get("/").host("greeter.example")).await;
        let asked = ledger.asked.load(Ordering::Acquire);
        let greeting = answer.expect(200);
        let mut right = (switched..=asked).map(|version| GREETERS[version % 2].1);
        assert!(right.any(|right| right == greeting), "{greeting:?} after {switched} switches");
        ledger.greeted.fetch_add(1, Ordering::AcqRel);
    }
}

async fn consume(address: SocketAddr, number: usize, ledger: Arc<SwapLedger>) {
    let mut client = KeptConnection::connect(protocol(number), address).await;
    while !ledger.stop.load(Ordering::Acquire) {
        let answer = client.ask(&Request::get("/poll/events?wait=1")).await;
        let counter = if answer.status == 204 { &ledger.nothing } else { &ledger.read };
        if answer.status != 204 {
            answer.expect(200);
            assert_eq!(answer.header("maybe-delivered"), None);
        }
        counter.fetch_add(1, Ordering::AcqRel);
    }
}

fn protocol(number: usize) -> Protocol {
    if number.is_multiple_of(2) { H1 } else { H2 }
}
