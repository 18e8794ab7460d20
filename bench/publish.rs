//! One publish, and many readers who wait for it: when they have its bytes, beside Redis Streams.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{BenchClient, request};
use crate::peers;
use crate::process::Process;
use crate::redis::{self, Redis, RedisConnection};
use crate::summary::{Times, median};

const READERS: usize = 10_000;
const SIZES: [usize; 2] = [100, 16 * 1024];
/// Both take turns, each with connections of its own: a process has not files enough for both at a time.
const TURNS: usize = 3;
const ROUNDS: usize = 3;

/// For requests that were sent to be parked, where nothing says so.
const ARRIVAL: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(50);

/// The servers are processes of their own; the readers share one thread.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let mut peers = vec![PublishPeer::Linger(peers::linger("longpoll.wasm")?)];
    println!("publish: from before it until {READERS} readers who waited have the bytes");
    if redis::is_installed() {
        let options = ["--appendonly", "no", "--maxclients", "12000"];
        peers.push(PublishPeer::Redis(Redis::start(tempfile::tempdir()?, &options).await?));
    } else {
        println!("  skipped: redis (there is no redis-server)");
    }
    println!("  medians of {} rounds", TURNS * ROUNDS);
    println!("  {:>12} {:>8} {:>10} {:>10} {:>10}", "bytes", "", "first", "median", "last");
    for size in SIZES {
        let data = "x".repeat(size);
        let mut times = vec![Vec::new(); peers.len()];
        for turn in 0..TURNS {
            for step in 0..peers.len() {
                let number = (turn + step) % peers.len();
                let mut readers = Vec::with_capacity(READERS);
                for _ in 0..READERS {
                    readers.push(peers[number].reader().await?);
                }
                for _ in 0..ROUNDS {
                    times[number].push(round(&peers[number], &mut readers, &data).await?);
                }
            }
        }
        for (peer, times) in peers.iter().zip(&times) {
            let [first, half, last] = medians(times);
            println!("  {size:>12} {:>8} {first:>9.1}ms {half:>8.1}ms {last:>8.1}ms", peer.name());
        }
        if let [linger, redis] = &times[..] {
            let (linger, redis) = (medians(linger), medians(redis));
            let [first, half, last] = [0, 1, 2].map(|place| redis[place] / linger[place]);
            println!("publish: {size} bytes, redis/linger {first:.2} {half:.2} {last:.2}, no target");
        }
    }
    Ok(())
}

/// Of the first, the median and the last reader, in milliseconds.
fn medians(times: &[[Duration; 3]]) -> [f64; 3] {
    [0, 1, 2].map(|place| {
        let times: Vec<_> = times.iter().map(|times| times[place].as_secs_f64() * 1000.0).collect();
        median(&times)
    })
}

/// When the first, the median and the last reader has it.
async fn round(peer: &PublishPeer, readers: &mut Vec<Reader>, data: &str) -> anyhow::Result<[Duration; 3]> {
    let mut publisher = peer.reader().await?;
    for reader in &mut *readers {
        reader.park().await?;
    }
    peer.all_parked(readers).await?;
    let mut waiting = JoinSet::new();
    for mut reader in readers.drain(..) {
        waiting.spawn(async move {
            reader.gets().await?;
            anyhow::Ok((Instant::now(), reader))
        });
    }
    // Each has to be listened to before.
    sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    publisher.publish(data).await?;
    let mut times = Vec::with_capacity(READERS);
    while !waiting.is_empty() {
        let left = waiting.len();
        let ended = timeout(SOON, waiting.join_next()).await;
        let Some(ended) = ended.with_context(|| format!("{left} readers got nothing"))? else { break };
        let (at, reader) = ended??;
        times.push(at - start);
        readers.push(reader);
    }
    let times = Times::new(times);
    Ok([0, 500, 1000].map(|permille| times.permille(permille)))
}

enum PublishPeer {
    Linger(Process),
    Redis(Redis),
}

impl PublishPeer {
    fn name(&self) -> &'static str {
        match self {
            Self::Linger(_) => "linger",
            Self::Redis(_) => "redis",
        }
    }

    async fn reader(&self) -> anyhow::Result<Reader> {
        Ok(match self {
            Self::Linger(linger) => Reader::Linger(BenchClient::connect(linger.address()).await?),
            Self::Redis(redis) => Reader::Redis(RedisConnection::tcp(redis.address()).await?),
        })
    }

    async fn all_parked(&self, readers: &[Reader]) -> anyhow::Result<()> {
        match self {
            Self::Linger(_) => {
                sleep(ARRIVAL).await;
                let answered = readers.iter().filter(|reader| !reader.is_waiting()).count();
                ensure!(answered == 0, "{answered} readers were answered before there was an event");
            }
            Self::Redis(redis) => {
                let mut one = RedisConnection::tcp(redis.address()).await?;
                let all = format!("blocked_clients:{}\r\n", readers.len());
                let end = Instant::now() + SOON;
                loop {
                    let reply = one.ask(&[b"INFO", b"clients"]).await?;
                    let text = String::from_utf8_lossy(reply.text().context("no text")?);
                    if text.contains(&all) {
                        break;
                    }
                    ensure!(Instant::now() < end, "not all readers are parked: {text}");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        Ok(())
    }
}

/// A connection. One of them publishes.
enum Reader {
    Linger(BenchClient),
    Redis(RedisConnection<TcpStream>),
}

impl Reader {
    async fn park(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Linger(client) => client.send(&request("GET", "/follow/bench?after=now&wait=60", "")).await,
            Self::Redis(connection) => {
                connection
                    .send(&redis::request(&[b"XREAD", b"BLOCK", b"0", b"STREAMS", b"bench", b"$"]))
                    .await
            }
        }
    }

    fn is_waiting(&self) -> bool {
        match self {
            Self::Linger(client) => client.is_waiting(),
            Self::Redis(_) => true,
        }
    }

    async fn gets(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Linger(client) => {
                let status = client.answer().await?;
                ensure!(status == 200, "a reader was answered with {status}");
            }
            Self::Redis(connection) => {
                connection.reply().await?.first_event().context("no event")?;
            }
        }
        Ok(())
    }

    async fn publish(&mut self, data: &str) -> anyhow::Result<()> {
        match self {
            Self::Linger(client) => {
                let status = client.ask(&request("POST", "/publish/bench", data)).await?;
                ensure!((200..300).contains(&status), "the publish was answered with {status}");
            }
            Self::Redis(connection) => {
                connection.ask(&[b"XADD", b"bench", b"*", b"data", data.as_bytes()]).await?;
            }
        }
        Ok(())
    }
}
