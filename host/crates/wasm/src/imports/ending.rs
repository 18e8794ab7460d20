//! `linger:middleware/ending`, for our own middleware.

use std::future::pending;
use std::sync::atomic::Ordering;

use wasmtime::component::{Access, FutureReader};
use wasmtime::{AsContextMut as _, Result};

use super::LingerImports;
use super::bindings::linger::middleware::ending;
use crate::state::{StoreState, current};

impl ending::Host for StoreState {}

impl ending::HostWithStore<StoreState> for LingerImports {
    fn ended(mut store: Access<'_, StoreState, Self>) -> Result<FutureReader<()>> {
        let exchange = current(store.as_context_mut())?;
        let (cancels, load) = (store.get().cancels.clone(), store.get().load.clone());
        FutureReader::new(store.as_context_mut(), async move {
            match exchange {
                Some(exchange) => exchange.wait_ended().await,
                None => pending().await,
            }
            if !cancels.is_some_and(|cancels| cancels.may_cancel(load.load(Ordering::Relaxed) <= 1)) {
                pending::<()>().await;
            }
            wasmtime::error::Ok(())
        })
    }
}
