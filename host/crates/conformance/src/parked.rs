//! The client whose poll is parked, and that then leaves, or stays.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::case::{EventSize, LeaveMode, PollRequest, Protocol, ReadPortion};
use super::target::TestTarget;
use super::wire::WireConnection;
use super::{http1, http2};

/// How long a parked poll is to wait: longer than a round takes.
const PARKED: Duration = Duration::from_secs(30);

/// For so long the client reads whatever the server has to say before an answer (settings, tickets), so
/// that nothing of it is left unread later.
const CHATTER: Duration = Duration::from_millis(30);

/// What may go wrong on the way to a connection that has no answer yet.
const ANSWERED_EARLY: &str = "the parked poll was answered before there was an event";

pub(super) struct ParkedPoll {
    wire: WireConnection,
    /// For HTTP/2.
    inbox: Option<http2::ResponseInbox>,
}

impl ParkedPoll {
    /// Connects and sends a poll.
    pub(super) async fn poll(
        target: &TestTarget,
        protocol: Protocol,
        queue: &str,
        request: PollRequest,
    ) -> io::Result<Self> {
        let mut wire = target.connect(protocol.is_http2()).await?;
        let path = target.poll_path(queue, PARKED);
        if !protocol.is_http2() {
            http1::send_poll(&mut wire, target, &path, request).await?;
            return Ok(Self { wire, inbox: None });
        }
        let mut inbox = http2::ResponseInbox::default();
        http2::greet(&mut wire).await?;
        http2::send_get(&mut wire, &mut inbox, target, &path, request != PollRequest::OpenBody).await?;
        if request == PollRequest::GoAway {
            http2::go_away(&mut wire).await?;
        }
        Ok(Self { wire, inbox: Some(inbox) })
    }

    /// Reads what the server says before it has an answer.
    pub(super) async fn listen(&mut self) -> io::Result<()> {
        let Some(inbox) = &mut self.inbox else {
            let said = timeout(CHATTER, self.wire.receive()).await;
            return match said {
                // Nothing, or leave to send a body.
                Err(_) => Ok(()),
                Ok(Ok(1..)) if self.wire.received.starts_with(b"HTTP/1.1 100 ") => Ok(()),
                Ok(Ok(0)) => Err(io::Error::other("the server closed the connection of a parked poll")),
                Ok(Ok(_)) => Err(io::Error::other(ANSWERED_EARLY)),
                Ok(Err(error)) => Err(error),
            };
        };
        loop {
            match timeout(CHATTER, http2::receive(&mut self.wire, inbox)).await {
                Err(_) => return Ok(()),
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    return Err(io::Error::other("the server closed the connection of a parked poll"));
                }
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Leaves. What is left of the client, if anything, goes with the value.
    pub(super) async fn leave(mut self, how: LeaveMode) -> io::Result<Option<Self>> {
        match how {
            LeaveMode::Close => self.wire.close_notify().await?,
            LeaveMode::Fin => {}
            LeaveMode::Reset => {
                self.wire.reset()?;
                return Ok(None);
            }
            LeaveMode::HalfClose => {
                self.wire.close_notify().await?;
                self.wire.half_close()?;
                return Ok(Some(self));
            }
            LeaveMode::CloseNotify => {
                self.wire.close_notify().await?;
                return Ok(Some(self));
            }
            LeaveMode::ResetStream => {
                let inbox = self.inbox.as_ref().ok_or_else(|| io::Error::other("this is for HTTP/2 only"))?;
                http2::reset_stream(&mut self.wire, inbox).await?;
                return Ok(Some(self));
            }
        }
        drop(self);
        Ok(None)
    }

    /// Waits until the answer, or as much of it as fits, is in the kernel, and takes a portion of it away.
    /// Something is left unread.
    pub(super) async fn let_arrive(&mut self, size: EventSize, portion: ReadPortion) -> io::Result<()> {
        // Below it are settings and the like; above, what a kernel holds of it depends on its buffers.
        let least = match size {
            EventSize::Small => 64,
            EventSize::Large => 16 * 1024,
        };
        let there = self.wire.unread_settles(least).await?;
        if portion == ReadPortion::Half {
            let half = match size {
                EventSize::Small => there / 2,
                EventSize::Large => 128 * 1024,
            };
            self.wire.discard(half).await?;
            self.wire.unread_settles(1).await?;
        }
        Ok(())
    }

    /// Reads the answer to its end: its body, or none if the server ended the connection without it.
    pub(super) async fn answer(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(inbox) = &mut self.inbox {
            return http2::read_body(&mut self.wire, inbox).await;
        }
        let answer = http1::read_answer(&mut self.wire).await?;
        Ok(answer.filter(|answer| answer.status == 200).map(|answer| answer.body))
    }

    /// Sends another poll on the same connection.
    pub(super) async fn poll_again(&mut self, target: &TestTarget, queue: &str) -> io::Result<()> {
        let path = target.poll_path(queue, PARKED);
        match &mut self.inbox {
            Some(inbox) => http2::send_get(&mut self.wire, inbox, target, &path, true).await,
            None => self.wire.send(http1::head(target, "GET", &path, "").as_bytes()).await,
        }
    }

    /// Closes in order, with all that has come in read.
    pub(super) async fn close(mut self) -> io::Result<()> {
        if let Some(inbox) = &mut self.inbox {
            // What comes after the answer, a window's update, say.
            while let Ok(more) = timeout(CHATTER, http2::receive(&mut self.wire, inbox)).await {
                if !more? {
                    break;
                }
            }
        }
        self.leave(LeaveMode::Close).await.map(drop)
    }
}
