//! Hosts that share their events in NATS: how soon a push at one wakes a poll at another, how many events they settle, and
//! what parked polls cost NATS. Skipped, with a line, without `nats-server`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream;
use async_nats::jetstream::{self, Context};
use futures::StreamExt as _;
use futures::future::try_join_all;
use tokio::time::{Instant, sleep};

use linger_nats_server::Nats;

use crate::awake::Awake;
use crate::client::{BenchClient, request};
use crate::load::{self, LoadWork};
use crate::parked::{self, Figures};
use crate::peers;
use crate::process::{Process, Used, resident, used};
use crate::summary::{Goal, Times, median};

const TURNS: usize = 20;
const EVENTS: usize = 100;

/// How long a poll is given to be parked: all the way to NATS.
const PARKING: Duration = Duration::from_millis(3);

/// How long events are pushed and settled, each time.
const ROUND: Duration = Duration::from_secs(4);

/// How long NATS is watched while polls are parked.
const IDLE: Duration = Duration::from_secs(20);

pub(crate) async fn measure() -> anyhow::Result<()> {
    let Some(nats) = Nats::start() else { return Ok(()) };
    latency(&nats, "").await?;
    if let Some(_awake) = Awake::keep()? {
        latency(&nats, ", processors that do not sleep").await?;
    }
    drop(nats);
    for hosts in [1, 3] {
        settle(hosts).await?;
    }
    for queues in [1, 100, 2_000] {
        park(queues).await?;
    }
    Ok(())
}

pub(crate) fn host(nats: &Nats) -> anyhow::Result<Process> {
    peers::linger_with(
        "longpoll.wasm",
        &format!(
            "queues = {{ max_queues = 20_000, max_waiters = 20_000, max_bytes = '1MiB' }}\n\
             events = {{ store = 'nats', nats = {{ servers = ['{}'] }} }}",
            nats.url()
        ),
    )
}

/// From a push to the answer of a poll that waits at another host, beside the same with hyper instead of Linger, and with two
/// connections to NATS alone.
async fn latency(nats: &Nats, how: &str) -> anyhow::Result<()> {
    println!("nats: from a push at one host to a poll at another{how}; {TURNS} turns of {EVENTS} events");
    let hosts = [host(nats)?, host(nats)?];
    let relays = [peers::relay(&nats.url())?, peers::relay(&nats.url())?];
    let mut linger = Pair::connect(&hosts).await?;
    let mut relay = Pair::connect(&relays).await?;
    let mut bare = Bare::connect(nats).await?;
    let mut times = [const { Vec::new() }; 3];
    // The first is to be warm.
    for turn in 0..=TURNS {
        for step in 0..3 {
            let whose = (turn + step) % 3;
            let taken = match whose {
                0 => linger.turn().await?,
                1 => relay.turn().await?,
                _ => bare.turn().await?,
            };
            times[whose].extend(taken.into_iter().filter(|_| turn > 0));
        }
    }
    let [own, relayed, bare] = times.map(Times::new);
    for (name, times) in [("linger", &own), ("hyper, async-nats", &relayed), ("bare async-nats", &bare)] {
        let [half, most] = [500, 990].map(|permille| times.permille(permille).as_secs_f64() * 1e6);
        println!("  {name:>18} p50 {half:>6.0} us, p99 {most:>6.0} us");
    }
    for (name, permille) in [("p50", 500), ("p99", 990)] {
        let ratio =
            |other: &Times| own.permille(permille).as_secs_f64() / other.permille(permille).as_secs_f64();
        println!(
            "nats: {name}{how}, linger / bare {:.2}; {}",
            ratio(&bare),
            Goal::at_most(1.5, 1.2).judge(ratio(&bare))
        );
        println!("nats: {name}{how}, linger / hyper and async-nats {:.2}", ratio(&relayed));
    }
    Ok(())
}

/// Two servers that share their events, one to push to and one to poll.
struct Pair {
    pusher: BenchClient,
    poller: BenchClient,
}

impl Pair {
    async fn connect([one, other]: &[Process; 2]) -> anyhow::Result<Self> {
        Ok(Self {
            pusher: BenchClient::connect(one.address()).await?,
            poller: BenchClient::connect(other.address()).await?,
        })
    }

    async fn turn(&mut self) -> anyhow::Result<Vec<Duration>> {
        let (push, poll) = (request("POST", "/push/q", "an event"), request("GET", "/poll/q?wait=60", ""));
        let mut times = Vec::with_capacity(EVENTS);
        for _ in 0..EVENTS {
            self.poller.send(&poll).await?;
            sleep(PARKING).await;
            let start = Instant::now();
            self.pusher.send(&push).await?;
            let got = self.poller.answer().await?;
            times.push(start.elapsed());
            let stored = self.pusher.answer().await?;
            ensure!((stored, got) == (202, 200), "push {stored}, poll {got}");
        }
        Ok(times)
    }
}

/// One connection that publishes, and one that pulls.
struct Bare {
    publisher: Context,
    consumer: jetstream::consumer::Consumer<pull::Config>,
}

impl Bare {
    async fn connect(nats: &Nats) -> anyhow::Result<Self> {
        let publisher = jetstream::new(async_nats::connect(nats.url()).await?);
        let taker = jetstream::new(async_nats::connect(nats.url()).await?);
        let config = stream::Config {
            name: "bare".to_owned(),
            retention: stream::RetentionPolicy::WorkQueue,
            ..stream::Config::default()
        };
        let stream = taker.create_stream(config).await?;
        let config = pull::Config { durable_name: Some("bare".to_owned()), ..pull::Config::default() };
        Ok(Self { publisher, consumer: stream.create_consumer(config).await? })
    }

    async fn turn(&mut self) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(EVENTS);
        for _ in 0..EVENTS {
            let mut batch = self
                .consumer
                .batch()
                .max_messages(1)
                .expires(Duration::from_mins(1))
                .messages()
                .await
                .map_err(anyhow::Error::from)?;
            sleep(PARKING).await;
            let start = Instant::now();
            let stored = self.publisher.publish("bare", "an event".into()).await?;
            let message = batch.next().await.context("no message")?.map_err(anyhow::Error::from_boxed)?;
            times.push(start.elapsed());
            stored.await?;
            message.double_ack().await.map_err(anyhow::Error::from_boxed)?;
        }
        Ok(times)
    }
}

/// Events that are pushed, taken and settled, at hosts that share them.
async fn settle(count: usize) -> anyhow::Result<()> {
    let Some(nats) = Nats::start() else { return Ok(()) };
    let hosts = (0..count).map(|_| host(&nats)).collect::<anyhow::Result<Vec<_>>>()?;
    let all = |length| {
        try_join_all(hosts.iter().map(move |host| load::round(host.address(), LoadWork::Push, length)))
    };
    // To be warm.
    all(Duration::from_secs(1)).await?;
    let before = used(nats.id())?;
    let mut busy = Vec::new();
    for host in &hosts {
        busy.push(host.used()?);
    }
    let done = all(ROUND).await?;
    let events: u32 = done.iter().map(|done| done.count).sum();
    let rate: f64 = done.iter().map(|done| done.rate()).sum();
    let each = |used: Duration| used.as_secs_f64() * 1e6 / f64::from(events);
    let of_nats = each(used(nats.id())?.since(&before));
    let of_hosts = hosts.iter().zip(&busy).map(|(host, before)| Ok(each(host.used()?.since(before))));
    let of_hosts: f64 = of_hosts.sum::<anyhow::Result<f64>>()?;
    println!(
        "nats: {count} hosts, pushed and polled for: {rate:.0} settled a second; CPU time for each: hosts {of_hosts:.0} us, NATS {of_nats:.0} us"
    );
    Ok(())
}

/// Polls that wait at one host, over some queues.
async fn park(queues: usize) -> anyhow::Result<()> {
    let Some(nats) = Nats::start() else { return Ok(()) };
    let host = host(&nats)?;
    let (memory, mut figures) = (resident(nats.id())?, Figures::default());
    let target = |number| format!("/poll/{}?wait=60", number % queues);
    let _clients = parked::park(&host, target, &mut figures, false).await?;
    let (grown, before): (_, Used) = (resident(nats.id())?.saturating_sub(memory), used(nats.id())?);
    let busy = host.used()?;
    sleep(IDLE).await;
    let a_second = |used: Duration| used.as_secs_f64() * 1e3 / IDLE.as_secs_f64();
    println!(
        "nats: {} polls parked over {queues} queues: {:.0} resident bytes each; idle, CPU time in a second: host {:.1} ms, NATS {:.1} ms, which grew by {:.1} MiB",
        parked::MANY,
        median(&figures.resident),
        a_second(host.used()?.since(&busy)),
        a_second(used(nats.id())?.since(&before)),
        f64::from(grown) / 1024.0,
    );
    Ok(())
}
