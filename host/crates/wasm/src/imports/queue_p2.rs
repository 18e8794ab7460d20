//! `linger:host/queue-p2`.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynPollable, subscribe};
use wit::types::{EventError, PushOptions};

use linger_events::Settlement;

use super::pending::PendingResult;
use super::queue::{GuestDelivery, QueueHandle, TakeWait, open, push, settle};
use super::wit;
use crate::state::StoreState;

/// A wait for an event, and its result until the guest fetches it.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub type PendingTake = PendingResult<TakeWait>;

impl wit::queue_p2::Host for StoreState {}

impl wit::queue_p2::HostQueue for StoreState {
    fn open(&mut self, name: String) -> Result<Result<Resource<QueueHandle>, EventError>> {
        open(self, &name)
    }

    async fn push(
        &mut self,
        this: Resource<QueueHandle>,
        data: Vec<u8>,
        options: PushOptions,
    ) -> Result<Result<wit::types::EventId, EventError>> {
        Ok(push(self, &this, data, options)?.await)
    }

    fn take(&mut self, this: Resource<QueueHandle>) -> Result<Resource<PendingTake>> {
        let queue = self.table.get(&this)?.name.clone();
        let take = TakeWait::start(self, &queue, self.requests.sole());
        Ok(self.table.push(PendingResult::Waiting(take))?)
    }

    fn drop(&mut self, this: Resource<QueueHandle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::queue_p2::HostPendingTake for StoreState {
    fn subscribe(&mut self, this: Resource<PendingTake>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.table, this)
    }

    fn get(
        &mut self,
        this: Resource<PendingTake>,
    ) -> Result<Option<Result<Resource<GuestDelivery>, EventError>>> {
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
impl wit::queue_p2::HostDelivery for StoreState {
    fn id(&mut self, this: Resource<GuestDelivery>) -> Result<wit::types::EventId> {
        wit::queue::HostDelivery::id(self, this)
    }

    fn data(&mut self, this: Resource<GuestDelivery>) -> Result<Vec<u8>> {
        wit::queue::HostDelivery::data(self, this)
    }

    fn content_type(&mut self, this: Resource<GuestDelivery>) -> Result<Option<String>> {
        wit::queue::HostDelivery::content_type(self, this)
    }

    fn attempt(&mut self, this: Resource<GuestDelivery>) -> Result<u32> {
        wit::queue::HostDelivery::attempt(self, this)
    }

    fn maybe_delivered(&mut self, this: Resource<GuestDelivery>) -> Result<bool> {
        wit::queue::HostDelivery::maybe_delivered(self, this)
    }

    async fn ack(&mut self, this: Resource<GuestDelivery>) -> Result<Result<(), EventError>> {
        Ok(settle(self, &this, Settlement::Ack)?.await)
    }

    async fn release(&mut self, this: Resource<GuestDelivery>) -> Result<Result<(), EventError>> {
        Ok(settle(self, &this, Settlement::Requeue { maybe_delivered: false })?.await)
    }

    fn drop(&mut self, this: Resource<GuestDelivery>) -> Result<()> {
        wit::queue::HostDelivery::drop(self, this)
    }
}
