//! The imports of guests: one file for each interface, and their linking.

mod bindings;
pub(super) mod cancellation;
pub(super) mod cancellation_p2;
mod client;
mod ending;
mod parking;
mod pending;
pub(super) mod queue;
pub(super) mod queue_p2;
mod streams;
pub(super) mod topic;
pub(super) mod topic_p2;
mod whole;

use wasmtime::component::{HasData, Linker};

use linger_base::Reason;

use super::state::StoreState;
use bindings::linger::host as wit;
use bindings::linger::middleware;

/// Implements our interfaces, on the data of a store.
pub(super) struct LingerImports;

impl HasData for LingerImports {
    type Data<'a> = &'a mut StoreState;
}

impl wit::types::Host for StoreState {}

impl From<Reason> for wit::types::Reason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Closed => Self::Closed,
            Reason::Reset => Self::Reset,
            Reason::Unresponsive => Self::Unresponsive,
            Reason::Deadline => Self::Deadline,
            Reason::Shutdown => Self::Shutdown,
            Reason::Replaced => Self::Replaced,
            Reason::Completed => Self::Completed,
        }
    }
}

/// Links all that a guest may import: `wasi:cli` and `wasi:http` of both generations, and ours. With or without traces of
/// requests.
pub(super) fn link(linker: &mut Linker<StoreState>, traces: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    client::link(linker, traces)?;
    wit::cancellation::add_to_linker::<_, LingerImports>(linker, |state| state)?;
    wit::cancellation_p2::add_to_linker::<_, LingerImports>(linker, |state| state)?;
    wit::queue::add_to_linker::<_, LingerImports>(linker, |state| state)?;
    wit::queue_p2::add_to_linker::<_, LingerImports>(linker, |state| state)?;
    wit::topic::add_to_linker::<_, LingerImports>(linker, |state| state)?;
    wit::topic_p2::add_to_linker::<_, LingerImports>(linker, |state| state)?;
    wit::whole::add_to_linker::<_, LingerImports>(linker, |state| state)?;
    middleware::ending::add_to_linker::<_, LingerImports>(linker, |state| state)?;
    streams::shadow(linker)
}
