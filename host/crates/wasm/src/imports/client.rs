//! `wasi:http/client`: as it is, but that with traces the host learns for which request a guest sends one of its own, so that
//! both are of one trace.

use wasmtime::AsContextMut as _;
use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::p3::bindings::http::client::{self, HostWithStore};
use wasmtime_wasi_http::p3::bindings::http::types::{self, ErrorCode};
use wasmtime_wasi_http::p3::{Request, Response};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtxView, WasiHttpView as _};

use crate::state::{StoreState, current};

struct ImportClient;

impl HasData for ImportClient {
    type Data<'a> = WasiHttpCtxView<'a>;
}

impl HostWithStore<StoreState> for ImportClient {
    async fn send(
        accessor: &Accessor<StoreState, Self>,
        request: Resource<Request>,
    ) -> Result<Resource<Response>, TrappableError<ErrorCode>> {
        accessor.with(|mut store| {
            // Where it is not known for which, it is sent without a trace.
            let exchange = current(store.as_context_mut()).ok().flatten();
            store.as_context_mut().data_mut().outgoing.work_for(exchange);
        });
        // It asks for the request before it waits for anything, so no other comes between.
        WasiHttp::send(&accessor.with_getter::<WasiHttp>(StoreState::http), request).await
    }
}

/// Links `wasi:http` of WASI 0.3. To find out for which request a guest sends another takes a while, so it is not done without
/// traces.
pub(super) fn link(linker: &mut Linker<StoreState>, traces: bool) -> wasmtime::Result<()> {
    types::add_to_linker::<_, WasiHttp>(linker, StoreState::http)?;
    if traces {
        client::add_to_linker::<_, ImportClient>(linker, StoreState::http)
    } else {
        client::add_to_linker::<_, WasiHttp>(linker, StoreState::http)
    }
}
