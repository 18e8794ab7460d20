//! The payload of an event as a stream that a response of `wasi:http` can have for its contents.

use bytes::Bytes;
use http_body_util::Full;
use wasmtime::component::{Access, FutureReader, StreamReader};
use wasmtime::{AsContextMut as _, Result};
use wasmtime_wasi_http::p3::Response;
use wasmtime_wasi_http::p3::bindings::http::types::HostResponseWithStore;
use wasmtime_wasi_http::{WasiHttp, WasiHttpView as _};

use super::Linger;
use crate::guest::state::State;

/// A stream of these bytes. It is the contents of a response of the host, so that when the guest puts it into a
/// response of its own, the host sees what it is, and sends the bytes as they are.
pub(super) fn stream(store: &mut Access<'_, State, Linger>, data: Bytes) -> Result<StreamReader<u8>> {
    let http = store.data_mut().http();
    let (response, _sent) = Response::from_http(http.hooks, http::Response::new(Full::new(data)));
    let response = http.table.push(response)?;
    // How the guest's reading of it went: nobody asks.
    let read = FutureReader::new(store.as_context_mut(), async { wasmtime::error::Ok(Ok(())) })?;
    let access: Access<'_, State, WasiHttp> = Access::new(store.as_context_mut(), |state| state.http());
    let (contents, mut trailers) =
        <WasiHttp as HostResponseWithStore<State>>::consume_body(access, response, read)?;
    trailers.close(store.as_context_mut())?;
    Ok(contents)
}
