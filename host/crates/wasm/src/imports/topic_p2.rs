//! `linger:host/topic-p2`.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynPollable, subscribe};
use wit::types::EventError;

use linger_events::TopicBatch;

use super::pending::PendingResult;
use super::topic::{SharedEvent, TopicHandle, TopicRead, end, open, publish, push_events};
use super::wit;
use crate::state::StoreState;

/// A wait for events, and its result until the guest fetches it.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub type PendingRead = PendingResult<TopicRead>;

impl wit::topic_p2::Host for StoreState {}

impl wit::topic_p2::HostTopic for StoreState {
    fn open(&mut self, name: String) -> Result<Result<Resource<TopicHandle>, EventError>> {
        open(self, &name)
    }

    async fn publish(
        &mut self,
        this: Resource<TopicHandle>,
        data: Vec<u8>,
        content_type: Option<String>,
    ) -> Result<Result<String, EventError>> {
        Ok(publish(self, &this, data, content_type)?.await)
    }

    fn read(
        &mut self,
        this: Resource<TopicHandle>,
        after: Option<String>,
        limit: u32,
    ) -> Result<Resource<PendingRead>> {
        let topic = &self.table.get(&this)?.name;
        let read = TopicRead::start(self, topic, after.as_deref(), limit, self.requests.sole());
        Ok(self.table.push(PendingResult::Waiting(read))?)
    }

    async fn end(&mut self, this: Resource<TopicHandle>) -> Result<Result<String, EventError>> {
        Ok(end(self, &this)?.await)
    }

    fn drop(&mut self, this: Resource<TopicHandle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::topic_p2::HostPendingRead for StoreState {
    fn subscribe(&mut self, this: Resource<PendingRead>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.table, this)
    }

    fn get(
        &mut self,
        this: Resource<PendingRead>,
    ) -> Result<Option<Result<wit::topic_p2::Batch, EventError>>> {
        Ok(match self.table.get_mut(&this)?.fetch() {
            Some(Ok(TopicBatch { events, next, missed, restarted })) => {
                let events = push_events(self, events)?;
                Some(Ok(wit::topic_p2::Batch { events, next: next.to_string(), missed, restarted }))
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn drop(&mut self, this: Resource<PendingRead>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

/// The same resource as in `topic`, so the same answers.
impl wit::topic_p2::HostEvent for StoreState {
    fn cursor(&mut self, this: Resource<SharedEvent>) -> Result<String> {
        wit::topic::HostEvent::cursor(self, this)
    }

    fn data(&mut self, this: Resource<SharedEvent>) -> Result<Vec<u8>> {
        wit::topic::HostEvent::data(self, this)
    }

    fn content_type(&mut self, this: Resource<SharedEvent>) -> Result<Option<String>> {
        wit::topic::HostEvent::content_type(self, this)
    }

    fn drop(&mut self, this: Resource<SharedEvent>) -> Result<()> {
        wit::topic::HostEvent::drop(self, this)
    }
}
