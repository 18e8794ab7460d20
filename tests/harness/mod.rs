//! What the tests share: the server as a process, and clients that behave as badly as clients do.

mod browser;
mod client;
mod collector;
mod frames;
mod http1;
mod http2;
mod log;
mod message;
mod namespace;
mod operator;
mod output;
mod peer;
mod proxy;
mod server;
mod socket;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use browser::Browser;
pub(crate) use client::{ClientLeave, KeptConnection, Open};
pub(crate) use collector::{Collector, SILENT, Span};
pub(crate) use frames::{CANCEL, Came, Frames};
pub(crate) use http1::Http1;
pub(crate) use http2::{Http2, TestStream};
pub(crate) use linger_nats_server::{Cluster, Nats};
pub(crate) use message::{Answer, Head, Request};
pub(crate) use namespace::Namespace;
pub(crate) use operator::{ADMIN, ADMIN_TCP, assert_serves, put};
pub(crate) use output::{assert_refused, text};
pub(crate) use peer::{Certificate, Fault, Naive, Peer, is_there};
pub(crate) use proxy::TestProxy;
pub(crate) use server::{SECRET, Server, command, linger, linger_in, serve_in_vain, write_config};
pub(crate) use socket::{Door, Socket};

/// How long anything may take that should happen soon. Far more than it does, for a machine under load.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// How long a test waits to see that something does not happen.
pub(crate) const ABSENCE: Duration = Duration::from_millis(400);

/// The limits with which an app has this many places for requests: in one instance, where requests share
/// one, and in as many instances otherwise.
pub(crate) fn places(component: &str, count: usize) -> String {
    let (instances, requests) = if component.ends_with("-p2") { (count, 1) } else { (1, count) };
    format!(
        "component = '{{{component}}}'\ninstances.max = {instances}\ninstances.max_requests = {requests}\n"
    )
}

/// The two versions of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

pub(crate) use Protocol::{Http1 as H1, Http2 as H2};

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The file of a guest that `make guests` or `make guests-other` built. `make test-languages` lets others that have the
/// same contract stand for `longpoll` and `longpoll-p2`.
pub(crate) fn component(name: &str) -> PathBuf {
    let stands_in = match name {
        "longpoll" => std::env::var_os("LINGER_LONGPOLL"),
        "longpoll-p2" => std::env::var_os("LINGER_LONGPOLL_P2"),
        _ => None,
    };
    let file = root()
        .join("target/components")
        .join(stands_in.unwrap_or_else(|| name.into()))
        .with_extension("wasm");
    assert!(file.exists(), "there is no {}: run `make guests guests-other`", file.display());
    file
}

/// Waits for something that should happen soon; `what` is for the message when it does not.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(output) = tokio::time::timeout(SOON, future).await else {
        panic!("{what}: nothing for {SOON:?}");
    };
    output
}

/// Tries until it gives something; for what can be seen only by asking again.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// One test of each function for each component and protocol, so that a failure names the combination.
macro_rules! combinations {
    ($first:literal, $second:literal: $($test:ident),* $(,)?) => { $(
        mod $test {
            use crate::harness::{H1, H2, Server};

            #[tokio::test]
            async fn p3_http1() {
                super::$test(Server::start($first).await, H1).await;
            }

            #[tokio::test]
            async fn p3_http2() {
                super::$test(Server::start($first).await, H2).await;
            }

            #[tokio::test]
            async fn p2_http1() {
                super::$test(Server::start($second).await, H1).await;
            }

            #[tokio::test]
            async fn p2_http2() {
                super::$test(Server::start($second).await, H2).await;
            }
        }
    )* };
}

/// The same for functions that start the server by themselves.
macro_rules! crossed {
    ($first:literal, $second:literal: $($test:ident),* $(,)?) => { $(
        mod $test {
            use crate::harness::{H1, H2};

            #[tokio::test]
            async fn p3_http1() {
                super::$test($first, H1).await;
            }

            #[tokio::test]
            async fn p3_http2() {
                super::$test($first, H2).await;
            }

            #[tokio::test]
            async fn p2_http1() {
                super::$test($second, H1).await;
            }

            #[tokio::test]
            async fn p2_http2() {
                super::$test($second, H2).await;
            }
        }
    )* };
}

/// One test of each function for each component.
macro_rules! both {
    ($first:literal, $second:literal: $($test:ident),* $(,)?) => { $(
        mod $test {
            #[tokio::test]
            async fn p3() {
                super::$test($first).await;
            }

            #[tokio::test]
            async fn p2() {
                super::$test($second).await;
            }
        }
    )* };
}

pub(crate) use {both, combinations, crossed};
