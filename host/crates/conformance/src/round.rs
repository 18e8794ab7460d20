//! One round of a case.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{sleep, timeout};

use super::case::{Case, Leave, Play, Portion, Protocol, Request, Size};
use super::healthy::Healthy;
use super::parked::Parked;
use super::target::Target;

/// What became of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next poll got it.
    Kept,
    /// The client that was there for it got it.
    Delivered,
    /// Nobody got it.
    Lost,
    /// It came a second time.
    Again,
    /// Something else happened.
    Failed(String),
}

/// A round that takes longer has failed.
const LIMIT: Duration = Duration::from_mins(1);

/// How long an answer may take to arrive in the kernel.
const ARRIVAL: Duration = Duration::from_secs(5);

/// The size of a large event.
const LARGE: usize = 256 * 1024;

pub(super) struct Round<'a> {
    pub(super) target: &'a Target,
    pub(super) case: &'a Case,
    pub(super) protocol: Protocol,
    /// The name of a queue that nobody else uses.
    pub(super) queue: String,
    /// How long after the leave the event comes.
    pub(super) offset: Duration,
}

impl Round<'_> {
    pub(super) async fn play(&self) -> Outcome {
        match timeout(LIMIT, self.try_play()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(_) => Outcome::Failed(format!("the round took more than {} s", LIMIT.as_secs())),
        }
    }

    async fn try_play(&self) -> io::Result<Outcome> {
        let mut healthy = Healthy::connect(self.target, self.protocol).await?;
        let request = match self.case.play {
            Play::LeaveThenPush(request, _) | Play::Stay(request) => request,
            _ => Request::Plain,
        };
        let mut parked = Parked::poll(self.target, self.protocol, &self.queue, request).await?;
        parked.listen().await?;
        self.overtake(&mut healthy).await?;
        match self.case.play {
            Play::LeaveThenPush(_, how) => self.leave_then_push(healthy, parked, how).await,
            Play::LeaveAndPush(how) => {
                let rest = parked.leave(how).await?;
                healthy.push(&self.queue, &self.event(Size::Small)).await?;
                let outcome = self.next_poll(&mut healthy, Size::Small).await;
                drop(rest);
                outcome
            }
            Play::PushAndLeave(how) => self.push_and_leave(healthy, parked, how).await,
            Play::Stay(_) => self.stay(healthy, parked).await,
            Play::Unread(size, portion) => self.unread(healthy, parked, size, portion).await,
            Play::ReadThenClose(size) => {
                self.read(&mut healthy, &mut parked, size).await?;
                parked.close().await?;
                self.comes_not_again(healthy).await
            }
            Play::ReadThenAsk => {
                self.read(&mut healthy, &mut parked, Size::Small).await?;
                parked.poll_again(self.target, &self.beside()).await?;
                let outcome = self.comes_not_again(healthy).await;
                drop(parked);
                outcome
            }
        }
    }

    async fn leave_then_push(&self, mut healthy: Healthy, parked: Parked, how: Leave) -> io::Result<Outcome> {
        let rest = parked.leave(how).await?;
        sleep(self.offset).await;
        healthy.push(&self.queue, &self.event(Size::Small)).await?;
        match rest {
            Some(rest) if how.reads_on() => self.one_of_two(healthy, rest).await,
            rest => {
                let outcome = self.next_poll(&mut healthy, Size::Small).await;
                // A stream that was reset: its connection was there until now.
                drop(rest);
                outcome
            }
        }
    }

    async fn push_and_leave(&self, mut healthy: Healthy, parked: Parked, how: Leave) -> io::Result<Outcome> {
        let event = self.event(Size::Small);
        // Shorter than the others: from before the server has the event until after it has answered.
        let offset = self.offset / 5;
        let leaving = async {
            if !offset.is_zero() {
                sleep(offset).await;
            }
            parked.leave(how).await
        };
        let (pushed, rest) = futures::join!(healthy.push(&self.queue, &event), leaving);
        pushed?;
        let outcome = self.next_poll(&mut healthy, Size::Small).await;
        drop(rest?);
        outcome
    }

    async fn stay(&self, mut healthy: Healthy, mut parked: Parked) -> io::Result<Outcome> {
        sleep(self.offset).await;
        let event = self.event(Size::Small);
        healthy.push(&self.queue, &event).await?;
        let answer = match timeout(self.case.bound, parked.answer()).await {
            Ok(answer) => answer?,
            Err(_) => None,
        };
        match (answer, healthy.poll(&self.queue, Duration::ZERO).await?) {
            (Some(answer), None) if answer == event => Ok(Outcome::Delivered),
            (Some(answer), Some(_)) if answer == event => Ok(Outcome::Again),
            (Some(answer), _) => Err(not_the_event(&answer)),
            (None, Some(_)) => Err(io::Error::other("the client that is there did not get the event")),
            (None, None) => Ok(Outcome::Lost),
        }
    }

    async fn unread(
        &self,
        mut healthy: Healthy,
        mut parked: Parked,
        size: Size,
        portion: Portion,
    ) -> io::Result<Outcome> {
        healthy.push(&self.queue, &self.event(size)).await?;
        timeout(ARRIVAL, parked.let_arrive(size, portion))
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the client that is there got no answer")))?;
        parked.leave(Leave::Fin).await?;
        self.next_poll(&mut healthy, size).await
    }

    /// The parked client reads its answer.
    async fn read(&self, healthy: &mut Healthy, parked: &mut Parked, size: Size) -> io::Result<()> {
        let event = self.event(size);
        healthy.push(&self.queue, &event).await?;
        let answer = timeout(ARRIVAL, parked.answer()).await.unwrap_or(Ok(None))?;
        match answer {
            Some(answer) if answer == event => Ok(()),
            Some(answer) => Err(not_the_event(&answer)),
            None => Err(io::Error::other("the client that is there got no answer")),
        }
    }

    /// The event is there for the next poll, and only for that one.
    async fn next_poll(&self, healthy: &mut Healthy, size: Size) -> io::Result<Outcome> {
        match healthy.poll(&self.queue, self.case.bound).await? {
            None => Ok(Outcome::Lost),
            Some(answer) if answer != self.event(size) => Err(not_the_event(&answer)),
            Some(_) => match healthy.poll(&self.queue, Duration::ZERO).await? {
                None => Ok(Outcome::Kept),
                Some(_) => Ok(Outcome::Again),
            },
        }
    }

    /// Whether a client that reads on gets the event, or the next poll.
    async fn one_of_two(&self, mut healthy: Healthy, mut parked: Parked) -> io::Result<Outcome> {
        let event = self.event(Size::Small);
        let (answer, next) = futures::join!(
            timeout(self.case.bound, parked.answer()),
            healthy.poll(&self.queue, self.case.bound)
        );
        // A connection that breaks gives no event.
        let answer = answer.ok().and_then(Result::ok).flatten().filter(|answer| *answer == event);
        Ok(match (answer, next?) {
            (Some(_), None) => Outcome::Delivered,
            (Some(_), Some(_)) => Outcome::Again,
            (None, Some(_)) => Outcome::Kept,
            (None, None) => Outcome::Lost,
        })
    }

    async fn comes_not_again(&self, mut healthy: Healthy) -> io::Result<Outcome> {
        sleep(self.case.bound).await;
        let again = healthy.poll(&self.queue, Duration::ZERO).await?;
        Ok(if again.is_some() { Outcome::Again } else { Outcome::Delivered })
    }

    /// Waits until a poll that was sent before should have been taken up: others have gone the whole way
    /// and back since. From outside, nothing proves it.
    async fn overtake(&self, healthy: &mut Healthy) -> io::Result<()> {
        for _ in 0..2 {
            healthy.poll(&self.beside(), Duration::ZERO).await?;
        }
        Ok(())
    }

    /// The name of another queue.
    fn beside(&self) -> String {
        format!("{}-beside", self.queue)
    }

    fn event(&self, size: Size) -> Bytes {
        let text = format!("the event that was pushed to the queue {}\n", self.queue);
        match size {
            Size::Small => text.into(),
            Size::Large => {
                let mut event = BytesMut::with_capacity(LARGE + text.len());
                while event.len() < LARGE {
                    event.extend_from_slice(text.as_bytes());
                }
                event.truncate(LARGE);
                event.freeze()
            }
        }
    }
}

fn not_the_event(answer: &Bytes) -> io::Error {
    io::Error::other(format!("{} bytes came that are not the event", answer.len()))
}
