//! `linger:middleware/ending`, for our own middleware.

use std::future::pending;

use wasmtime::component::{Access, FutureReader};
use wasmtime::{AsContextMut as _, Result};

use super::Linger;
use crate::guest::bindings::linger::middleware::ending;
use crate::guest::state::{State, current};

impl ending::Host for State {}

impl ending::HostWithStore<State> for Linger {
    fn ended(mut store: Access<'_, State, Self>) -> Result<FutureReader<()>> {
        let exchange = current(store.as_context_mut())?;
        let (cancels, apart) = (store.get().cancels.clone(), store.get().apart);
        FutureReader::new(store.as_context_mut(), async move {
            match exchange {
                Some(exchange) => exchange.ended().await,
                None => pending().await,
            }
            if !cancels.may_cancel(apart) {
                pending::<()>().await;
            }
            wasmtime::error::Ok(())
        })
    }
}
