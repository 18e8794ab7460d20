//! Redis Streams: XADD, XREADGROUP, and XACK with XDEL, over a socket as its clients have it.

use std::time::Duration;

use anyhow::Context as _;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{CLIENTS, StoreContestant, StoreWay, StoreWork, folder, queue};
use crate::redis::{Redis, RedisConnection, command, request};

/// What it writes down, and when.
#[derive(Clone, Copy)]
pub(crate) enum StreamsLog {
    /// Nothing.
    No,
    /// With each answer, and flushed each second.
    EverySecond,
    /// With each answer, and flushed before it.
    Always,
}

/// A server, and the clients, which share one thread.
pub(crate) struct Streams {
    runtime: Runtime,
    redis: Redis,
    clients: Vec<StreamsClient>,
}

struct StreamsClient {
    name: String,
    producer: RedisConnection<UnixStream>,
    consumer: RedisConnection<UnixStream>,
}

impl Streams {
    pub(crate) fn start(log: StreamsLog) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let options: &[_] = match log {
            StreamsLog::No => &["--appendonly", "no"],
            StreamsLog::EverySecond => &["--appendonly", "yes", "--appendfsync", "everysec"],
            StreamsLog::Always => &["--appendonly", "yes", "--appendfsync", "always"],
        };
        let redis = runtime.block_on(Redis::start(folder()?, options))?;
        let clients = runtime.block_on(async {
            let mut one = redis.connect().await?;
            for name in (0..CLIENTS).map(queue).chain(["lonely".to_owned()]) {
                one.ask(&[b"XGROUP", b"CREATE", name.as_bytes(), b"group", b"$", b"MKSTREAM"]).await?;
            }
            let mut clients = Vec::new();
            for number in 0..CLIENTS {
                let (producer, consumer) = (redis.connect().await?, redis.connect().await?);
                clients.push(StreamsClient { name: format!("client-{number}"), producer, consumer });
            }
            anyhow::Ok(clients)
        })?;
        Ok(Self { runtime, redis, clients })
    }
}

impl StoreContestant for Streams {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn run(&mut self, work: StoreWork, cycles: u32) -> anyhow::Result<()> {
        let mut running = JoinSet::new();
        for (number, mut client) in self.clients.drain(..).enumerate() {
            let queue = queue(number % work.queues);
            let run = async move { client.run(&queue, work, cycles).await.map(|()| client) };
            running.spawn_on(run, self.runtime.handle());
        }
        self.runtime.block_on(async {
            while let Some(ended) = running.join_next().await {
                self.clients.push(ended??);
            }
            Ok(())
        })
    }

    fn lonely(&mut self, pushes: u32, data: &[u8]) -> anyhow::Result<Vec<Duration>> {
        self.runtime.block_on(async {
            let mut one = self.redis.connect().await?;
            let mut times = Vec::new();
            for _ in 0..pushes {
                let start = Instant::now();
                let id = one.ask(&[b"XADD", b"lonely", b"*", b"data", data]).await?;
                times.push(start.elapsed());
                one.ask(&[b"XDEL", b"lonely", id.text().context("no id")?]).await?;
            }
            Ok(times)
        })
    }
}

impl StreamsClient {
    async fn run(&mut self, queue: &str, work: StoreWork, cycles: u32) -> anyhow::Result<()> {
        let (queue, data) = (queue.as_bytes(), vec![b'x'; work.bytes]);
        let push = request(&[b"XADD", queue, b"*", b"data", &data]);
        let group: [&[u8]; 4] = [b"XREADGROUP", b"GROUP", b"group", self.name.as_bytes()];
        let what: [&[u8]; 7] = [b"COUNT", b"1", b"BLOCK", b"0", b"STREAMS", queue, b">"];
        let take = request(&[group.as_slice(), &what].concat());
        for _ in 0..cycles {
            let read = match work.way {
                StoreWay::Parked => {
                    self.consumer.send(&take).await?;
                    self.producer.send(&push).await?;
                    self.producer.reply().await?;
                    self.consumer.reply().await?
                }
                StoreWay::Stored => {
                    self.producer.send(&push).await?;
                    self.producer.reply().await?;
                    self.consumer.send(&take).await?;
                    self.consumer.reply().await?
                }
            };
            let id = read.first_event().context("no event")?;
            let mut settle = request(&[b"XACK", queue, b"group", id]);
            command(&mut settle, &[b"XDEL", queue, id]);
            self.consumer.send(&settle).await?;
            self.consumer.reply().await?;
            self.consumer.reply().await?;
        }
        Ok(())
    }
}
