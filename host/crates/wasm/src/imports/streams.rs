//! `wasi:io/streams`, where a guest writes: notes which request does, so that the log can name it.
//!
//! wasi-libc opens the standard streams once for an instance, which many requests share. Only at the
//! write itself is it known who writes.

use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::p2::bindings::io::streams::{Host, HostOutputStream, StreamError};
use wasmtime_wasi::p2::{DynOutputStream, StreamResult};

use crate::state::{StoreState, note_writer};

type StreamWrite = (Resource<DynOutputStream>, Vec<u8>);

pub(super) fn shadow(linker: &mut Linker<StoreState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut streams = linker.instance("wasi:io/streams@0.2.12")?;
    streams.func_wrap(
        "[method]output-stream.write",
        |mut store: StoreContextMut<'_, StoreState>, (stream, bytes): StreamWrite| {
            note_writer(store.as_context_mut())?;
            let table = &mut store.data_mut().table;
            let result = HostOutputStream::write(table, stream, bytes);
            Ok((to_guest(table, result)?,))
        },
    )?;
    streams.func_wrap_async(
        "[method]output-stream.blocking-write-and-flush",
        |mut store: StoreContextMut<'_, StoreState>, (stream, bytes): StreamWrite| {
            Box::new(async move {
                note_writer(store.as_context_mut())?;
                let table = &mut store.data_mut().table;
                let result = table.blocking_write_and_flush(stream, bytes).await;
                Ok((to_guest(table, result)?,))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn to_guest(
    table: &mut ResourceTable,
    result: StreamResult<()>,
) -> wasmtime::Result<Result<(), StreamError>> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(error) => table.convert_stream_error(error).map(Err),
    }
}
