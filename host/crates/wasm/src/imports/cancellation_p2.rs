//! `linger:host/cancellation-p2`.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use linger_base::Cancellation;

use super::wit;
use crate::state::StoreState;

/// A cancellation that a guest of WASI 0.2 can poll.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
#[derive(Debug)]
pub struct PolledCancellation(Cancellation);

#[async_trait]
impl Pollable for PolledCancellation {
    async fn ready(&mut self) {
        self.0.wait_cancelled().await;
    }
}

impl wit::cancellation_p2::Host for StoreState {
    fn current(&mut self) -> Result<Resource<PolledCancellation>> {
        let exchange = self.requests.sole();
        let cancellation =
            exchange.map_or_else(Cancellation::completed, |exchange| exchange.cancellation.clone());
        Ok(self.table.push(PolledCancellation(cancellation))?)
    }
}

impl wit::cancellation_p2::HostCancellation for StoreState {
    fn subscribe(&mut self, this: Resource<PolledCancellation>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.table, this)
    }

    fn reason(&mut self, this: Resource<PolledCancellation>) -> Result<Option<wit::types::Reason>> {
        Ok(self.table.get(&this)?.0.reason().map(Into::into))
    }

    fn drop(&mut self, this: Resource<PolledCancellation>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
