//! Composing components: middleware in front of a handler.

use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, PackageId, plug};

/// What `guest/cancel` builds to; `make middleware` renews it.
const CANCEL: &[u8] = include_bytes!("cancel.wasm");

/// A component that handles as `handler` does, a WASI 0.3 component, but drops a call whose request has ended.
///
/// The error says why it does not fit.
pub(super) fn cancelling(handler: Vec<u8>) -> Result<Vec<u8>, String> {
    in_front(CANCEL.to_vec(), handler)
}

/// A component in which `outer` imports the handler that `inner` exports. Both are for the same WASI.
///
/// The error says why they do not fit.
pub(super) fn in_front(outer: Vec<u8>, inner: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut graph = CompositionGraph::new();
    let inner = register(&mut graph, "linger:inner", inner)?;
    let outer = register(&mut graph, "linger:outer", outer)?;
    plug(&mut graph, vec![inner], outer).map_err(|error| error.to_string())?;
    // It is compiled right after, which validates it.
    let options = EncodeOptions { validate: false, ..EncodeOptions::default() };
    graph.encode(options).map_err(|error| error.to_string())
}

fn register(graph: &mut CompositionGraph, name: &str, bytes: Vec<u8>) -> Result<PackageId, String> {
    let package =
        Package::from_bytes(name, None, bytes, graph.types_mut()).map_err(|error| format!("{error:#}"))?;
    graph.register_package(package).map_err(|error| error.to_string())
}
