//! A poll, an event and a client that leaves, each at a random moment around the others, thousands of times.
//! Whatever the client does: nothing is lost, nothing comes twice without a flag, and the order stays.

mod dice;
mod http1;
mod http2;
mod lane;
mod ledger;

use std::path::Path;

use futures::future::join_all;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::harness::{Certificate, Door, H1, Protocol, Request, Server, eventually, linger, text};
use dice::seed;
use lane::Lane;
use ledger::ChaosTally;

/// Rounds of each case. `LINGER_ROUNDS` sets another number, for a longer run; `make chaos` does.
const ROUNDS: usize = 400;

/// With WASI 0.2 there are fewer.
const P2_SHARE: usize = 4;

/// Each with a client and a producer of its own, all at the same time.
const QUEUES: usize = 16;

/// Rounds of each queue between moments at which all is quiet.
const BETWEEN_QUIETS: usize = 13;

macro_rules! cases {
    ($($test:ident: $component:literal, $protocol:expr, $store:expr, $way:expr;)*) => {
        mod client_that_leaves_at_a_random_moment_costs_nothing {
            use crate::harness::{H1, H2};
            use super::ChaosStore::{Buffered, Fsync, Memory};
            use super::ChaosWay::{Plain, Tls};

            $(#[tokio::test]
            async fn $test() {
                super::costs_nothing($component, $protocol, $store, $way).await;
            })*
        }
    };
}

cases! {
    http1_memory: "longpoll", H1, Memory, Plain;
    http1_disk: "longpoll", H1, Fsync, Plain;
    http2_memory: "longpoll", H2, Memory, Plain;
    http2_disk: "longpoll", H2, Fsync, Plain;
    http1_tls: "longpoll", H1, Memory, Tls;
    http2_tls: "longpoll", H2, Memory, Tls;
    p2_http1_memory: "longpoll-p2", H1, Memory, Plain;
    p2_http1_disk: "longpoll-p2", H1, Buffered, Plain;
    p2_http2_memory: "longpoll-p2", H2, Memory, Plain;
    p2_http2_disk: "longpoll-p2", H2, Buffered, Plain;
    p2_http1_tls: "longpoll-p2", H1, Memory, Tls;
    p2_http2_tls: "longpoll-p2", H2, Memory, Tls;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChaosStore {
    Memory,
    Fsync,
    Buffered,
}

impl ChaosStore {
    fn config(self, directory: &Path) -> String {
        let durability = match self {
            Self::Memory => return String::new(),
            Self::Fsync => "fsync",
            Self::Buffered => "buffered",
        };
        let directory = directory.display();
        format!("[events]\nstore = 'disk'\ndirectory = '{directory}'\ndurability = '{durability}'\n")
    }
}

/// How the clients that leave come. Who behaves comes in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChaosWay {
    Plain,
    Tls,
}

/// What `taker` answers has no body, or is for a HEAD: then its event has to come again.
const APPS: &str = "[[routes]]\napp = 'app'\npath = '/'\n[[routes]]\napp = 'taker'\npath = '/take'\n\
    [apps.taker]\ncomponent = '{taker}'\n";

async fn start(component: &str, store: &str, certificate: &Certificate) -> Server {
    let (cert, key) = (certificate.file(), certificate.key());
    // A machine that stands still for a second does not make an answer one that was read.
    Server::with_config(&format!(
        "detection.confirm_window = '5s'\n[[listeners]]\naddress = '127.0.0.1:0'\n\
         [[listeners]]\naddress = '127.0.0.1:0'\ntls = {{ certificate = '{}', key = '{}' }}\n\
         {store}[apps.app]\ncomponent = '{{{component}}}'\n{APPS}",
        cert.display(),
        key.display(),
    ))
    .await
}

async fn costs_nothing(component: &str, protocol: Protocol, store: ChaosStore, way: ChaosWay) {
    let (rounds, seed) = (rounds(component), seed());
    let name = format!("{component}, {protocol:?}, {store:?}, {way:?}");
    println!("{name}: LINGER_SEED={seed} repeats it");
    let (folder, certificate) = (tempfile::tempdir().unwrap(), Certificate::new());
    let mut server = start(component, &store.config(folder.path()), &certificate).await;
    let door = match way {
        ChaosWay::Plain => Door::plain(server.address()),
        ChaosWay::Tls => Door::tls(server.encrypted_address().await, &certificate, protocol),
    };
    let (start, alone) = (Instant::now(), server.sockets());
    let mut lanes = Vec::new();
    for number in 0..QUEUES {
        lanes.push(Lane::new(server.address(), door.clone(), protocol, number, seed));
    }
    let mut left = rounds.div_ceil(QUEUES);
    while left > 0 {
        let now = left.min(BETWEEN_QUIETS);
        left -= now;
        join_all(lanes.iter_mut().map(|lane| lane.rounds(now))).await;
        quiet(&server, alone).await;
        join_all(lanes.iter_mut().map(|lane| lane.drain(left == 0))).await;
    }
    let mut tally = ChaosTally::default();
    for lane in lanes {
        tally.add(lane.into_tally());
    }
    println!("{name}: {tally}, in {:.1?}", start.elapsed());
    assert!(tally.is_right(component.ends_with("-p2")), "LINGER_SEED={seed}: {tally}");
    server.signal(Signal::TERM);
    assert!(server.exit().await.success());
    assert!(!server.log.text().contains("bug in Linger"), "{}", server.log.text());
    if store != ChaosStore::Memory {
        let output = linger(&["store".as_ref(), "check".as_ref(), folder.path().as_os_str()]);
        let contents = text(&output.stdout);
        assert!(contents.contains("0 queues, 0 topics, 0 events"), "{contents}{}", text(&output.stderr));
    }
}

fn rounds(component: &str) -> usize {
    let rounds = std::env::var("LINGER_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    if component.ends_with("-p2") { rounds / P2_SHARE } else { rounds }
}

/// Waits until everybody who has left is noticed, and what they had is settled.
async fn quiet(server: &Server, alone: usize) {
    let alone_again = async || {
        eventually("all have left", async || (server.sockets() <= alone).then_some(())).await;
    };
    alone_again().await;
    // What was given back while it was being written down is back when something later has been written.
    server.send(H1, &Request::post("/push/later", "later")).await.expect(202);
    server.get("/poll/later").await.expect(200);
    alone_again().await;
}
