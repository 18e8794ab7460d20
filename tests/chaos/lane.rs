//! One queue, who pushes to it, and who polls it.

use std::net::SocketAddr;
use std::sync::Mutex;

use super::dice::{Dice, at};
use super::ledger::{ChaosLedger, ChaosTally, Reading};
use super::{http1, http2};
use crate::harness::{Answer, Door, Http1, Http2, Protocol, Request};

pub(super) struct Lane {
    /// For who behaves, in clear.
    address: SocketAddr,
    queue: usize,
    dice: Dice,
    ledger: Mutex<ChaosLedger>,
    client: ChaosClient,
}

enum ChaosClient {
    One(http1::Http1Client),
    Two(http2::Http2Client),
}

impl Lane {
    /// The client that leaves comes by the door.
    pub(super) fn new(address: SocketAddr, door: Door, protocol: Protocol, queue: usize, seed: u64) -> Self {
        let client = match protocol {
            Protocol::Http1 => ChaosClient::One(http1::Http1Client::new(door)),
            Protocol::Http2 => ChaosClient::Two(http2::Http2Client::new(door)),
        };
        Self { address, queue, dice: Dice::new(seed, queue), ledger: Mutex::default(), client }
    }

    /// So many times a poll, an event and a client that leaves.
    pub(super) async fn rounds(&mut self, count: usize) {
        let mut producer = Http1::connect(self.address).await;
        for _ in 0..count {
            let moments = self.dice.moments();
            let (number, event) = self.ledger.lock().unwrap().push(self.dice.length());
            let push = Request::post(&format!("/push/{}", self.queue), event);
            let stored = async {
                at(moments.push).await;
                producer.ask(&push).await.expect(202);
                self.ledger.lock().unwrap().answered(number);
            };
            let round = async {
                let (dice, ledger) = (&mut self.dice, &self.ledger);
                match &mut self.client {
                    ChaosClient::One(client) => client.round(self.queue, dice, &moments, ledger).await,
                    ChaosClient::Two(client) => client.round(self.queue, dice, &moments, ledger).await,
                }
            };
            tokio::join!(stored, round);
        }
        match &mut self.client {
            ChaosClient::One(client) => client.close(),
            ChaosClient::Two(client) => client.close().await,
        }
    }

    /// In a quiet queue, a client that behaves reads what nobody has read, and at `last` all there is.
    pub(super) async fn drain(&mut self, last: bool) {
        self.ledger.lock().unwrap().begin_quiet();
        let mut client = match self.client {
            ChaosClient::One(_) => Steady::One(Http1::connect(self.address).await),
            ChaosClient::Two(_) => Steady::Two(Http2::connect(self.address).await),
        };
        // A poll that waits no longer than it must can be over before a busy disk has noted whom it gives the event.
        let poll = Request::get(&format!("/poll/{}?wait={}", self.queue, if last { 1 } else { 5 }));
        while last || self.ledger.lock().unwrap().missing() > 0 {
            self.ledger.lock().unwrap().asked(1);
            let answer = client.ask(&poll).await;
            if answer.status == 204 {
                self.ledger.lock().unwrap().empty();
                break;
            }
            self.ledger.lock().unwrap().read(&Reading::of(&answer));
        }
        client.close().await;
        self.ledger.lock().unwrap().end_quiet();
    }

    pub(super) fn into_tally(self) -> ChaosTally {
        self.ledger.into_inner().unwrap().into_tally()
    }
}

/// A client that behaves.
enum Steady {
    One(Http1),
    Two(Http2),
}

impl Steady {
    async fn ask(&mut self, request: &Request) -> Answer {
        match self {
            Self::One(client) => client.ask(request).await,
            Self::Two(client) => client.ask(request).await,
        }
    }

    async fn close(self) {
        match self {
            Self::One(client) => drop(client),
            Self::Two(client) => client.close().await,
        }
    }
}
