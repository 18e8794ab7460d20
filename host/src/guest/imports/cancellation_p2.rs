//! `linger:host/cancellation-p2`.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::wit;
use crate::cancel::Cancellation;
use crate::guest::state::State;

#[async_trait]
impl Pollable for Cancellation {
    async fn ready(&mut self) {
        self.cancelled().await;
    }
}

impl wit::cancellation_p2::Host for State {
    fn current(&mut self) -> Result<Resource<Cancellation>> {
        let exchange = self.requests.sole();
        let cancellation =
            exchange.map_or_else(Cancellation::completed, |exchange| exchange.cancellation.clone());
        Ok(self.table.push(cancellation)?)
    }
}

impl wit::cancellation_p2::HostCancellation for State {
    fn subscribe(&mut self, this: Resource<Cancellation>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.table, this)
    }

    fn reason(&mut self, this: Resource<Cancellation>) -> Result<Option<wit::types::Reason>> {
        Ok(self.table.get(&this)?.reason().map(Into::into))
    }

    fn drop(&mut self, this: Resource<Cancellation>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
