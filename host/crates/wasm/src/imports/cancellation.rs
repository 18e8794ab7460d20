//! `linger:host/cancellation`.

use wasmtime::component::{Access, FutureReader, Resource};
use wasmtime::{AsContextMut as _, Result};

use linger_base::Cancellation;

use super::{LingerImports, wit};
use crate::state::{StoreState, current};

impl wit::cancellation::Host for StoreState {}

impl wit::cancellation::HostWithStore<StoreState> for LingerImports {
    fn current(mut store: Access<'_, StoreState, Self>) -> Result<Resource<Cancellation>> {
        let exchange = current(store.as_context_mut())?;
        let cancellation =
            exchange.map_or_else(Cancellation::completed, |exchange| exchange.cancellation.clone());
        Ok(store.get().table.push(cancellation)?)
    }
}

impl wit::cancellation::HostCancellation for StoreState {
    fn reason(&mut self, this: Resource<Cancellation>) -> Result<Option<wit::types::Reason>> {
        Ok(self.table.get(&this)?.reason().map(Into::into))
    }

    fn drop(&mut self, this: Resource<Cancellation>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::cancellation::HostCancellationWithStore<StoreState> for LingerImports {
    fn cancelled(
        mut store: Access<'_, StoreState, Self>,
        this: Resource<Cancellation>,
    ) -> Result<FutureReader<wit::types::Reason>> {
        let cancellation = store.get().table.get(&this)?.clone();
        FutureReader::new(store.as_context_mut(), async move {
            wasmtime::error::Ok(cancellation.wait_cancelled_owned().await.into())
        })
    }
}
