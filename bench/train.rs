//! The load under which an instrumented host notes which ways its code takes: `make optimized`. Nothing is measured.
//!
//! What never runs here is built small instead of fast: so what users have at a high rate belongs here.

use std::time::Duration;

use linger_nats_server::Nats;

use crate::encrypted::{self, HTTP1, HTTP2};
use crate::load::{self, Done, LoadWork};
use crate::peers;
use crate::process::Process;

const ROUND: Duration = Duration::from_secs(5);

pub(crate) async fn run() -> anyhow::Result<()> {
    let disk = "events = { store = 'disk', directory = 'events' }";
    let loads = [
        ("greetings", peers::linger("hello.wasm")?, LoadWork::Hello),
        ("greetings, with a log of them", peers::logging("hello.wasm")?, LoadWork::Hello),
        ("greetings as streams", peers::linger("plain-p3.wasm")?, LoadWork::Hello),
        ("greetings of WASI 0.2", peers::linger("plain-p2.wasm")?, LoadWork::Hello),
        ("bodies", peers::linger("echo.wasm")?, LoadWork::Echo),
        ("events that wait for polls", peers::linger("longpoll.wasm")?, LoadWork::Push),
        ("polls that wait for events", peers::linger("longpoll.wasm")?, LoadWork::Poll),
        ("polls of WASI 0.2", peers::linger("longpoll-p2.wasm")?, LoadWork::Poll),
        ("events on disk", peers::linger_with("longpoll.wasm", disk)?, LoadWork::Push),
        ("topics", peers::linger("longpoll.wasm")?, LoadWork::Publish),
    ];
    for (name, host, work) in loads {
        let done = load::round(host.address(), work, ROUND).await?;
        end(name, done, host)?;
    }
    if let Some(nats) = Nats::start() {
        for (name, work) in [("events in NATS", LoadWork::Push), ("topics in NATS", LoadWork::Publish)] {
            let host = crate::nats::host(&nats)?;
            let done = load::round(host.address(), work, ROUND).await?;
            end(name, done, host)?;
        }
    }
    for (name, protocol) in [("TLS and HTTP/1.1", HTTP1), ("TLS and HTTP/2", HTTP2)] {
        let (host, certificate) = peers::encrypted("hello.wasm")?;
        let done = encrypted::round(host.address(), certificate, protocol, ROUND).await?;
        end(name, done, host)?;
    }
    Ok(())
}

/// What a process has noted it writes as it ends.
fn end(name: &str, done: Done, host: Process) -> anyhow::Result<()> {
    println!("  {name}: {:.0} a second", done.rate());
    host.end()
}
