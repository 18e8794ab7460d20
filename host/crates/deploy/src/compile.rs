//! Compiler threads, with a lower priority than the threads that serve requests.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The least that a thread can want: see setpriority(2).
const LEAST: i32 = 19;

/// Runs what blocks, and compiles, with threads of low priority. Without those, with threads like others. None if it
/// panicked.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let run = move || drop(sender.send(work()));
    match pool() {
        Some(pool) => pool.spawn(run),
        None => drop(tokio::task::spawn_blocking(run)),
    }
    receiver.await.ok()
}

/// Wasmtime compiles in parallel, in the pool that it is called from.
fn pool() -> Option<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let build = || {
        ThreadPoolBuilder::new()
            .thread_name(|index| format!("compile-{index}"))
            .start_handler(|_| {
                // On Linux that is of the calling thread. Refused, it compiles like others.
                let _ = rustix::process::setpriority_process(None, LEAST);
            })
            // The panic was logged, and whoever waits learns of it.
            .panic_handler(|_| ())
            .build()
            .inspect_err(|error| tracing::warn!("cannot start the compiler threads: {error}"))
            .ok()
    };
    POOL.get_or_init(build).as_ref()
}
