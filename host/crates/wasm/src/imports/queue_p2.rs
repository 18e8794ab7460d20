//! `linger:host/queue-p2`.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynPollable, subscribe};
use wit::types::{EventError, PushOptions};

use linger_events::Settlement;

use super::pending::Pending;
use super::queue::{Held, Queue, Take, open, push, settle};
use super::wit;
use crate::state::State;

/// A wait for an event, and its result until the guest fetches it.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub type PendingTake = Pending<Take>;

impl wit::queue_p2::Host for State {}

impl wit::queue_p2::HostQueue for State {
    fn open(&mut self, name: String) -> Result<Result<Resource<Queue>, EventError>> {
        open(self, &name)
    }

    async fn push(
        &mut self,
        this: Resource<Queue>,
        data: Vec<u8>,
        options: PushOptions,
    ) -> Result<Result<wit::types::EventId, EventError>> {
        Ok(push(self, &this, data, options)?.await)
    }

    fn take(&mut self, this: Resource<Queue>) -> Result<Resource<PendingTake>> {
        let queue = self.table.get(&this)?.name.clone();
        let take = Take::start(self, &queue, self.requests.sole());
        Ok(self.table.push(Pending::Waiting(take))?)
    }

    fn drop(&mut self, this: Resource<Queue>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::queue_p2::HostPendingTake for State {
    fn subscribe(&mut self, this: Resource<PendingTake>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.table, this)
    }

    fn get(&mut self, this: Resource<PendingTake>) -> Result<Option<Result<Resource<Held>, EventError>>> {
        Ok(match self.table.get_mut(&this)?.fetch() {
            Some(Ok(held)) => Some(Ok(self.table.push(held)?)),
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn drop(&mut self, this: Resource<PendingTake>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

/// The same resource as in `queue`, so the same answers.
impl wit::queue_p2::HostDelivery for State {
    fn id(&mut self, this: Resource<Held>) -> Result<wit::types::EventId> {
        wit::queue::HostDelivery::id(self, this)
    }

    fn data(&mut self, this: Resource<Held>) -> Result<Vec<u8>> {
        wit::queue::HostDelivery::data(self, this)
    }

    fn content_type(&mut self, this: Resource<Held>) -> Result<Option<String>> {
        wit::queue::HostDelivery::content_type(self, this)
    }

    fn attempt(&mut self, this: Resource<Held>) -> Result<u32> {
        wit::queue::HostDelivery::attempt(self, this)
    }

    fn maybe_delivered(&mut self, this: Resource<Held>) -> Result<bool> {
        wit::queue::HostDelivery::maybe_delivered(self, this)
    }

    async fn ack(&mut self, this: Resource<Held>) -> Result<Result<(), EventError>> {
        Ok(settle(self, &this, Settlement::Commit)?.await)
    }

    async fn release(&mut self, this: Resource<Held>) -> Result<Result<(), EventError>> {
        Ok(settle(self, &this, Settlement::PutBack { maybe_delivered: false })?.await)
    }

    fn drop(&mut self, this: Resource<Held>) -> Result<()> {
        wit::queue::HostDelivery::drop(self, this)
    }
}
