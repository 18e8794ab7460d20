//! Three hosts and three NATS servers: thousands of parked polls whose clients come and go, a host that is killed, and a
//! server that is killed and comes back. Nothing is lost, and nothing comes twice without its flag.

mod client;
mod ledger;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::harness::{Cluster, Server, eventually};
use client::{SoakDice, exchange, get, post};
use ledger::NatsLedger;

const HOSTS: usize = 3;
const QUEUES: usize = 20;
const PUSHERS: usize = 8;

/// One poll in so many is left before it is answered, at some time within this.
const LEAVES: u64 = 4;
const PATIENCE_MILLIS: u64 = 2_000;

/// How long the server that was killed is away.
const AWAY: Duration = Duration::from_secs(3);

/// How long what is missing at the end may take: what the killed host had comes back after the ack wait.
const REST: Duration = Duration::from_secs(90);

struct Size {
    polls: usize,
    events: usize,
}

#[tokio::test]
async fn nothing_is_lost_when_a_host_and_a_server_are_killed() {
    soak(Size { polls: 150, events: 1_500 }).await;
}

#[tokio::test]
#[ignore = "takes minutes: run `make nats-soak`"]
async fn five_thousand_polls_and_fifty_thousand_events() {
    soak(Size { polls: 5_000, events: 50_000 }).await;
}

fn config(cluster: &Cluster) -> String {
    format!(
        "[limits]\nmax_connections = 20000\nmax_connections_per_client = 20000\n\
         max_requests = 20000\nmax_requests_per_client = 20000\n\
         [detection]\nconfirm_window = '20s'\n\
         [events]\nstore = 'nats'\n[events.nats]\nservers = [{}]\nreplicas = 3\nack_wait = '5s'\ntimeout = '10s'\n\
         [apps.app]\ncomponent = '{{longpoll}}'\nmax_requests = 20000\ninstances.max = 20\ninstances.max_requests = 1000\n",
        cluster.urls()
    )
}

/// What all clients know.
struct SoakWorld {
    /// Where hosts are. Those that were killed are taken out.
    hosts: std::sync::Mutex<Vec<SocketAddr>>,
    ledger: NatsLedger,
    next: AtomicUsize,
    accepted: AtomicUsize,
    /// Polls that wait now.
    parked: AtomicUsize,
    enough: usize,
    stop: CancellationToken,
}

impl SoakWorld {
    fn host(&self, dice: &mut SoakDice) -> SocketAddr {
        let hosts = self.hosts.lock().unwrap();
        hosts[usize::try_from(dice.below(hosts.len() as u64)).unwrap()]
    }

    async fn reaches(&self, part: usize) {
        let wanted = self.enough * part / 100;
        while self.accepted.load(Ordering::Relaxed) < wanted {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn soak(size: Size) {
    let _ = linger_net::raise_file_limit();
    let Some(mut cluster) = Cluster::start() else { return };
    let mut hosts = Vec::new();
    for _ in 0..HOSTS {
        hosts.push(Server::with_config(&config(&cluster)).await);
    }
    let world = Arc::new(SoakWorld {
        hosts: std::sync::Mutex::new(hosts.iter().map(Server::address).collect()),
        ledger: NatsLedger::default(),
        next: AtomicUsize::new(0),
        accepted: AtomicUsize::new(0),
        parked: AtomicUsize::new(0),
        enough: size.events,
        stop: CancellationToken::new(),
    });
    warm(&world).await;
    let mut pollers = JoinSet::new();
    for number in 0..size.polls {
        pollers.spawn(poll(world.clone(), number));
    }
    eventually("all polls are parked", async || {
        (world.parked.load(Ordering::Relaxed) >= size.polls * 9 / 10).then_some(())
    })
    .await;
    println!("{} polls are parked at {HOSTS} hosts", world.parked.load(Ordering::Relaxed));
    let start = Instant::now();
    let mut pushers = JoinSet::new();
    for number in 0..PUSHERS {
        pushers.spawn(push(world.clone(), number));
    }
    world.reaches(33).await;
    world.hosts.lock().unwrap().pop();
    hosts.pop().unwrap().signal(Signal::KILL);
    println!("{:.1?}: a host is killed", start.elapsed());
    world.reaches(60).await;
    cluster.0[1].kill();
    println!("{:.1?}: a NATS server is killed", start.elapsed());
    sleep(AWAY).await;
    cluster.0[1].restart();
    println!("{:.1?}: it is back", start.elapsed());
    while let Some(ended) = pushers.join_next().await {
        ended.unwrap();
    }
    println!("{:.1?}: all is pushed", start.elapsed());
    let rest = tokio::time::timeout(REST, async {
        while !world.ledger.missing().is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    let complete = rest.await.is_ok();
    world.stop.cancel();
    while let Some(ended) = pollers.join_next().await {
        ended.unwrap();
    }
    println!("{:.1?}: {}", start.elapsed(), world.ledger);
    assert!(complete, "events are lost: {:?}", world.ledger.missing());
    let doubled = world.ledger.doubled();
    assert!(doubled.is_empty(), "came twice without a flag: {doubled:?}");
    in_order(&world).await;
}

/// Waits until the cluster has a leader for each queue.
async fn warm(world: &SoakWorld) {
    let address = world.hosts.lock().unwrap()[0];
    for queue in 0..QUEUES {
        eventually("a queue is there", async || {
            exchange(address, &get(&format!("/poll/{queue}?wait=0")), None)
                .await
                .filter(|answer| answer.status == 204)
        })
        .await;
    }
}

/// Polls, from host to host, and leaves now and then.
async fn poll(world: Arc<SoakWorld>, number: usize) {
    let mut dice = SoakDice::new(number as u64);
    let queue = number % QUEUES;
    while !world.stop.is_cancelled() {
        let leaves = dice.below(LEAVES) == 0;
        let patience = leaves.then(|| Duration::from_millis(dice.below(PATIENCE_MILLIS)));
        let address = world.host(&mut dice);
        world.parked.fetch_add(1, Ordering::Relaxed);
        let request = get(&format!("/poll/{queue}?wait=20"));
        let answer = tokio::select! {
            answer = exchange(address, &request, patience) => answer,
            () = world.stop.cancelled() => None,
        };
        world.parked.fetch_sub(1, Ordering::Relaxed);
        match answer {
            Some(answer) if answer.status == 200 => world.ledger.read(&answer.body, answer.is_flagged),
            Some(_) => {}
            // It left, or the host did.
            None => sleep(Duration::from_millis(dice.below(50))).await,
        }
    }
}

/// Pushes numbered events until enough are accepted. What is not accepted may be stored all the same, and is left.
async fn push(world: Arc<SoakWorld>, number: usize) {
    let mut dice = SoakDice::new(1_000_000 + number as u64);
    while world.accepted.load(Ordering::Relaxed) < world.enough {
        let event = world.next.fetch_add(1, Ordering::Relaxed);
        let address = world.host(&mut dice);
        let request = post(&format!("/push/{}", event % QUEUES), &format!("event {event}"));
        match exchange(address, &request, None).await {
            Some(answer) if answer.status == 202 => {
                world.ledger.accepted(event);
                world.accepted.fetch_add(1, Ordering::Relaxed);
            }
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// One who polls gets what was pushed in the order in which it was, from whichever host.
async fn in_order(world: &SoakWorld) {
    const EVENTS: usize = 100;
    let hosts = world.hosts.lock().unwrap().clone();
    for number in 0..EVENTS {
        let host = hosts[number % hosts.len()];
        let request = post("/push/in-order", &number.to_string());
        assert_eq!(exchange(host, &request, None).await.unwrap().status, 202);
    }
    for number in 0..EVENTS {
        let host = hosts[(number + 1) % hosts.len()];
        let answer = exchange(host, &get("/poll/in-order?wait=20"), None).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, &*number.to_string()));
    }
}
