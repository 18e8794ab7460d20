//! What Linger's promises cost, and how fast it keeps them. `make bench` runs all; names after `--` choose.
//!
//! Where Linger is compared with itself, the servers run in this process, each in a runtime of its own; where it
//! is compared with others, each is a process. The clients share one thread. Nothing here fails because of a
//! figure: machines differ.

mod awake;
mod client;
mod cost;
mod departure;
mod encrypted;
mod engines;
mod languages;
mod latency;
mod load;
mod nats;
mod parked;
mod peers;
mod process;
mod publish;
mod redis;
mod reference;
mod server;
mod store;
mod summary;
mod swap;
mod throughput;
mod train;
mod wrk;

use std::sync::Arc;

use anyhow::Context as _;

use linger_net::raise_file_limit;
use linger_wasm::Engine;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some(peers::bare::ARGUMENT), _) => return peers::bare::serve(),
        (Some(peers::relay::ARGUMENT), Some(nats)) => return peers::relay::serve(&nats),
        _ => {}
    }
    // Cargo adds options of its own.
    let chosen: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    // Fewer files fail soon enough, and say so.
    let _ = raise_file_limit();
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if chosen == ["train"] {
        return clients.block_on(train::run());
    }
    if wanted("store") {
        store::measure()?;
    }
    if wanted("engines") {
        engines::measure()?;
    }
    let engine = Arc::new(
        Engine::new(None, 1_000, false).map_err(anyhow::Error::from).context("the engine does not start")?,
    );
    clients.block_on(async {
        if wanted("departure") {
            departure::measure(&engine).await?;
        }
        if wanted("hello") {
            cost::hello(&engine).await?;
        }
        if wanted("poll") {
            cost::poll(&engine).await?;
        }
        if wanted("publish") {
            publish::measure().await?;
        }
        if wanted("client") {
            wrk::measure().await?;
        }
        if wanted("throughput") {
            throughput::hello().await?;
            throughput::hello_p2().await?;
            throughput::longpoll().await?;
        }
        if wanted("languages") {
            languages::measure().await?;
        }
        if wanted("observed") {
            throughput::observed().await?;
        }
        if wanted("latency") {
            latency::measure()?;
        }
        if wanted("nats") {
            nats::measure().await?;
        }
        if wanted("swap") {
            swap::measure().await?;
        }
        if wanted("parked") {
            parked::measure().await?;
        }
        Ok(())
    })
}
