//! Behind nginx and HAProxy, which keep connections and use them for whoever comes next. They are not at hand
//! everywhere, so that is run by `make proxies` alone.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use crate::harness::{Answer, H1, Http1, Request, Server, TestProxy};

const POSTS: usize = 10_000;
const EVENTS: usize = 200;

/// Clients at the same time, each with a connection to the proxy.
const CLIENTS: usize = 8;

/// Of bodies that nobody reads: within a packet, within the kernel's buffers, and beyond them.
const SIZES: [usize; 12] = [1, 100, 3_000, 60_000, 10, 200_000, 20, 5_000, 100_000, 500, 900_000, 40_000];

/// Who answers before a body was read: a guest, or the host for want of a route, or of a method.
const EARLY: [(&str, u16, usize); 3] =
    [("/hello", 200, POSTS), ("/nowhere", 404, POSTS / 10), ("/poll/q", 405, POSTS / 10)];

/// The event's client is the proxy's client: in `sure` it says itself what it has.
const CONFIG: &str = "\
    [[listeners]]\naddress = '127.0.0.1:0'\ntrusted_proxies = ['127.0.0.1']\n\
    [[queues.rules]]\nname = 'sure'\ncommit = 'client'\nlease = '30s'\n\
    [apps.hello]\ncomponent = '{hello}'\n[apps.app]\ncomponent = '{longpoll}'\n\
    [[routes]]\napp = 'hello'\npath = '/hello'\n\
    [[routes]]\napp = 'app'\npath = '/push'\n\
    [[routes]]\napp = 'app'\npath = '/poll'\nmethods = ['GET']\n";

/// How a proxy is there, or is not.
enum ProxyKind {
    Nginx,
    HaProxy(&'static str),
}

impl ProxyKind {
    async fn before(&self, server: &Server) -> Option<TestProxy> {
        match self {
            Self::Nginx => TestProxy::nginx(server.address()).await,
            Self::HaProxy(backend) => TestProxy::haproxy(server.address(), backend).await,
        }
    }
}

macro_rules! behind {
    ($($name:ident: $kind:expr;)*) => { $(
        mod $name {
            use super::ProxyKind;

            #[tokio::test]
            #[ignore = "needs proxies: run `make proxies`"]
            async fn body_that_nobody_reads_fails_no_request() {
                super::body_that_nobody_reads_fails_no_request($kind).await;
            }

            #[tokio::test]
            #[ignore = "needs proxies: run `make proxies`"]
            async fn event_that_was_read_does_not_come_again() {
                super::event_that_was_read_does_not_come_again($kind).await;
            }

            #[tokio::test]
            #[ignore = "needs proxies: run `make proxies`"]
            async fn confirmation_is_not_refused() {
                super::confirmation_is_not_refused($kind).await;
            }
        }
    )* };
}

behind! {
    nginx: ProxyKind::Nginx;
    haproxy_as_recommended: ProxyKind::HaProxy("http-reuse always");
    haproxy_with_its_defaults: ProxyKind::HaProxy("");
}

async fn body_that_nobody_reads_fails_no_request(kind: ProxyKind) {
    let server = Server::with_config(CONFIG).await;
    let Some(proxy) = kind.before(&server).await else { return };
    for (target, status, count) in EARLY {
        let start = Instant::now();
        let failed = join_all((0..CLIENTS).map(|_| post(&proxy, target, status, count / CLIENTS))).await;
        let failed: Vec<String> = failed.into_iter().flatten().collect();
        println!("{target}: {} of {count} failed, in {:.1?}", failed.len(), start.elapsed());
        let few = &failed[..failed.len().min(5)];
        assert!(failed.is_empty(), "{target}: {} of {count} failed: {few:?}\n{}", failed.len(), proxy.log());
    }
}

/// Posts so many bodies. Gives what did not get its answer.
async fn post(proxy: &TestProxy, target: &str, status: u16, count: usize) -> Vec<String> {
    let (mut failed, mut client, mut new) = (Vec::new(), proxy.connect().await, true);
    for number in 0..count {
        let size = SIZES[number % SIZES.len()];
        let request = Request::post(target, vec![b'x'; size]);
        let mut answer = client.ask_hastily(&request).await;
        // A proxy closes when it likes: that counts when it closes on a connection that was just made.
        if answer.is_err() && !new {
            client = proxy.connect().await;
            answer = client.ask_hastily(&request).await;
        }
        new = !answer.as_ref().is_ok_and(|answer| answer.header("connection") != Some("close"));
        match answer {
            Ok(answer) if answer.status == status => {}
            Ok(answer) => failed.push(format!("{size} bytes: {}", answer.status)),
            Err(_) => failed.push(format!("{size} bytes: cut")),
        }
        if new {
            client = proxy.connect().await;
        }
    }
    failed
}

async fn event_that_was_read_does_not_come_again(kind: ProxyKind) {
    let server = Server::with_config(CONFIG).await;
    let Some(proxy) = kind.before(&server).await else { return };
    let tally = read_all(&server, &proxy, "plain").await;
    println!("{} events read, {} again", tally.read.len(), tally.again());
    assert_eq!(tally.read.len(), EVENTS, "events are lost");
    // It resets connections that it has read, now and then before its kernel has acknowledged that: which may be a client
    // that has left, too.
    let allowed = if matches!(kind, ProxyKind::HaProxy("")) { EVENTS / 2 } else { 0 };
    assert!(tally.again() <= allowed, "{:?}", tally.read);
}

async fn confirmation_is_not_refused(kind: ProxyKind) {
    let server = Server::with_config(CONFIG).await;
    let Some(proxy) = kind.before(&server).await else { return };
    let ProxyTally { read, confirmed, refused } = read_all(&server, &proxy, "sure").await;
    let again: usize = read.values().map(|count| count - 1).sum();
    println!("{} events read, {confirmed} confirmed, {refused} refused, {again} again", read.len());
    assert_eq!((read.len(), confirmed, refused, again), (EVENTS, EVENTS, 0, 0));
}

#[derive(Default)]
struct ProxyTally {
    /// How often each event was read.
    read: HashMap<String, usize>,
    confirmed: usize,
    refused: usize,
}

impl ProxyTally {
    fn again(&self) -> usize {
        self.read.values().map(|count| count - 1).sum()
    }

    fn confirms(&mut self, answer: &Answer) {
        match answer.header("linger-ack") {
            None => {}
            Some("committed") => self.confirmed += 1,
            Some(_) => self.refused += 1,
        }
    }
}

/// Clients that poll through the proxy while events are pushed, and confirm what they are told to confirm.
async fn read_all(server: &Server, proxy: &TestProxy, queue: &str) -> ProxyTally {
    let push = async {
        let mut producer = Http1::connect(server.address()).await;
        for number in 0..EVENTS {
            let event = format!("event {number}");
            producer.ask(&Request::post(&format!("/push/{queue}"), event)).await.expect(202);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (tallies, ()) =
        tokio::join!(join_all((0..CLIENTS).map(|number| poll(proxy, queue, number % 2 == 0))), push);
    let mut all = ProxyTally::default();
    for tally in tallies {
        tally.read.into_iter().for_each(|(event, count)| *all.read.entry(event).or_default() += count);
        all.confirmed += tally.confirmed;
        all.refused += tally.refused;
    }
    // What returns without a lease is there within the window.
    loop {
        let answer = server.send(H1, &Request::get(&format!("/poll/{queue}?wait=3"))).await;
        if answer.status == 204 {
            return all;
        }
        *all.read.entry(answer.expect(200).to_owned()).or_default() += 1;
    }
}

/// Polls until nothing comes any more, on one connection or on a new one each time: HAProxy resets its own when a client
/// has gone and there are others.
async fn poll(proxy: &TestProxy, queue: &str, stays: bool) -> ProxyTally {
    let (mut client, mut tally) = (proxy.connect().await, ProxyTally::default());
    let mut token: Option<String> = None;
    loop {
        let mut request = Request::get(&format!("/poll/{queue}?wait=3"));
        if let Some(token) = token.take() {
            request = request.header("linger-ack", &token);
        }
        let answer = client.ask(&request).await;
        tally.confirms(&answer);
        token = answer.header("linger-delivery").map(str::to_owned);
        if answer.status == 204 {
            return tally;
        }
        *tally.read.entry(answer.expect(200).to_owned()).or_default() += 1;
        if !stays {
            client = proxy.connect().await;
        }
    }
}
