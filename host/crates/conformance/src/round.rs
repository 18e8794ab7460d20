//! One round of a case.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{sleep, timeout};

use super::case::{EventSize, LeaveMode, PollRequest, Protocol, ReadPortion, RoundPlan, TestCase};
use super::healthy::HealthyClient;
use super::parked::ParkedPoll;
use super::target::TestTarget;

/// What became of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventFate {
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

pub(super) struct TestRound<'a> {
    pub(super) target: &'a TestTarget,
    pub(super) case: &'a TestCase,
    pub(super) protocol: Protocol,
    /// The name of a queue that nobody else uses.
    pub(super) queue: String,
    /// How long after the leave the event comes.
    pub(super) offset: Duration,
}

impl TestRound<'_> {
    pub(super) async fn play(&self) -> EventFate {
        match timeout(LIMIT, self.try_play()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => EventFate::Failed(error.to_string()),
            Err(_) => EventFate::Failed(format!("the round took more than {} s", LIMIT.as_secs())),
        }
    }

    async fn try_play(&self) -> io::Result<EventFate> {
        let mut healthy = HealthyClient::connect(self.target, self.protocol).await?;
        let request = match self.case.play {
            RoundPlan::LeaveThenPush(request, _) | RoundPlan::Stay(request) => request,
            _ => PollRequest::Plain,
        };
        let mut parked = ParkedPoll::poll(self.target, self.protocol, &self.queue, request).await?;
        parked.listen().await?;
        self.overtake(&mut healthy).await?;
        match self.case.play {
            RoundPlan::LeaveThenPush(_, how) => self.leave_then_push(healthy, parked, how).await,
            RoundPlan::LeaveAndPush(how) => {
                let rest = parked.leave(how).await?;
                healthy.push(&self.queue, &self.event(EventSize::Small)).await?;
                let outcome = self.next_poll(&mut healthy, EventSize::Small).await;
                drop(rest);
                outcome
            }
            RoundPlan::PushAndLeave(how) => self.push_and_leave(healthy, parked, how).await,
            RoundPlan::Stay(_) => self.stay(healthy, parked).await,
            RoundPlan::Unread(size, portion) => self.unread(healthy, parked, size, portion).await,
            RoundPlan::ReadThenClose(size) => {
                self.read(&mut healthy, &mut parked, size).await?;
                parked.close().await?;
                self.comes_not_again(healthy).await
            }
            RoundPlan::ReadThenAsk => {
                self.read(&mut healthy, &mut parked, EventSize::Small).await?;
                parked.poll_again(self.target, &self.beside()).await?;
                let outcome = self.comes_not_again(healthy).await;
                drop(parked);
                outcome
            }
        }
    }

    async fn leave_then_push(
        &self,
        mut healthy: HealthyClient,
        parked: ParkedPoll,
        how: LeaveMode,
    ) -> io::Result<EventFate> {
        let rest = parked.leave(how).await?;
        sleep(self.offset).await;
        healthy.push(&self.queue, &self.event(EventSize::Small)).await?;
        match rest {
            Some(rest) if how.reads_on() => self.one_of_two(healthy, rest).await,
            rest => {
                let outcome = self.next_poll(&mut healthy, EventSize::Small).await;
                // A stream that was reset: its connection was there until now.
                drop(rest);
                outcome
            }
        }
    }

    async fn push_and_leave(
        &self,
        mut healthy: HealthyClient,
        parked: ParkedPoll,
        how: LeaveMode,
    ) -> io::Result<EventFate> {
        let event = self.event(EventSize::Small);
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
        let outcome = self.next_poll(&mut healthy, EventSize::Small).await;
        drop(rest?);
        outcome
    }

    async fn stay(&self, mut healthy: HealthyClient, mut parked: ParkedPoll) -> io::Result<EventFate> {
        sleep(self.offset).await;
        let event = self.event(EventSize::Small);
        healthy.push(&self.queue, &event).await?;
        let answer = match timeout(self.case.bound, parked.answer()).await {
            Ok(answer) => answer?,
            Err(_) => None,
        };
        match (answer, healthy.poll(&self.queue, Duration::ZERO).await?) {
            (Some(answer), None) if answer == event => Ok(EventFate::Delivered),
            (Some(answer), Some(_)) if answer == event => Ok(EventFate::Again),
            (Some(answer), _) => Err(not_the_event(&answer)),
            (None, Some(_)) => Err(io::Error::other("the client that is there did not get the event")),
            (None, None) => Ok(EventFate::Lost),
        }
    }

    async fn unread(
        &self,
        mut healthy: HealthyClient,
        mut parked: ParkedPoll,
        size: EventSize,
        portion: ReadPortion,
    ) -> io::Result<EventFate> {
        healthy.push(&self.queue, &self.event(size)).await?;
        timeout(ARRIVAL, parked.let_arrive(size, portion))
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the client that is there got no answer")))?;
        parked.leave(LeaveMode::Fin).await?;
        self.next_poll(&mut healthy, size).await
    }

    /// The parked client reads its answer.
    async fn read(
        &self,
        healthy: &mut HealthyClient,
        parked: &mut ParkedPoll,
        size: EventSize,
    ) -> io::Result<()> {
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
    async fn next_poll(&self, healthy: &mut HealthyClient, size: EventSize) -> io::Result<EventFate> {
        match healthy.poll(&self.queue, self.case.bound).await? {
            None => Ok(EventFate::Lost),
            Some(answer) if answer != self.event(size) => Err(not_the_event(&answer)),
            Some(_) => match healthy.poll(&self.queue, Duration::ZERO).await? {
                None => Ok(EventFate::Kept),
                Some(_) => Ok(EventFate::Again),
            },
        }
    }

    /// Whether a client that reads on gets the event, or the next poll.
    async fn one_of_two(&self, mut healthy: HealthyClient, mut parked: ParkedPoll) -> io::Result<EventFate> {
        let event = self.event(EventSize::Small);
        let (answer, next) = futures::join!(
            timeout(self.case.bound, parked.answer()),
            healthy.poll(&self.queue, self.case.bound)
        );
        // A connection that breaks gives no event.
        let answer = answer.ok().and_then(Result::ok).flatten().filter(|answer| *answer == event);
        Ok(match (answer, next?) {
            (Some(_), None) => EventFate::Delivered,
            (Some(_), Some(_)) => EventFate::Again,
            (None, Some(_)) => EventFate::Kept,
            (None, None) => EventFate::Lost,
        })
    }

    async fn comes_not_again(&self, mut healthy: HealthyClient) -> io::Result<EventFate> {
        sleep(self.case.bound).await;
        let again = healthy.poll(&self.queue, Duration::ZERO).await?;
        Ok(if again.is_some() { EventFate::Again } else { EventFate::Delivered })
    }

    /// Waits until a poll that was sent before should have been taken up: others have gone the whole way
    /// and back since. From outside, nothing proves it.
    async fn overtake(&self, healthy: &mut HealthyClient) -> io::Result<()> {
        for _ in 0..2 {
            healthy.poll(&self.beside(), Duration::ZERO).await?;
        }
        Ok(())
    }

    /// The name of another queue.
    fn beside(&self) -> String {
        format!("{}-beside", self.queue)
    }

    fn event(&self, size: EventSize) -> Bytes {
        let text = format!("the event that was pushed to the queue {}\n", self.queue);
        match size {
            EventSize::Small => text.into(),
            EventSize::Large => {
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
