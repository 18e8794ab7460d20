//! A shard: a thread that serves connections, in a runtime of its own.
//!
//! All that a connection needs stays on its thread: its tasks, its timers, the instances that work for it. No thread
//! wakes another one on the way of a request, but for an event that comes in elsewhere.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use linger_base::permits::Permit;
use linger_http::{ClientPermit, ListenerPolicy, ShardContext, serve_connection};
use linger_net::AcceptedSocket;

use super::polling::PollingPolicy;

/// The way to a shard.
pub(super) struct Shard {
    arrivals: mpsc::UnboundedSender<AcceptedConnection>,
    connections: Arc<AtomicUsize>,
    ended: oneshot::Receiver<()>,
}

/// A connection that was accepted.
pub(super) struct AcceptedConnection {
    pub(super) accepted: AcceptedSocket,
    pub(super) entrance: ListenerPolicy,
    pub(super) share: Permit,
    /// None where it does not count for a client.
    pub(super) of_client: Option<ClientPermit>,
}

impl Shard {
    /// Starts the thread.
    pub(super) fn start(context: Arc<ShardContext>) -> io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let polling = context.busy_poll.map(|window| PollingPolicy::new(window, context.begun.clone()));
        if let Some(polling) = &polling {
            polling.observe(&mut runtime);
        }
        let runtime = runtime.enable_all().build()?;
        let (arrivals, inbox) = mpsc::unbounded_channel();
        let (ending, ended) = oneshot::channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let open = connections.clone();
        let name = format!("core-{}", context.shard.index);
        std::thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(async {
                let mut beside = JoinSet::new();
                if let Some(polling) = polling {
                    beside.spawn(polling.run());
                }
                let idle_buffers = context.idle_buffers.clone();
                beside.spawn(async move { idle_buffers.tend().await });
                let (connections, bounds) = (context.connections.clone(), context.detection.reader_bounds());
                beside.spawn(async move { connections.check_readers(bounds).await });
                serve(context, inbox, &open).await;
            });
            runtime.shutdown_background();
            // Who waited for longer than it wanted to has gone.
            let _ = ending.send(());
        })?;
        Ok(Self { arrivals, connections, ended })
    }

    /// Connections that it has.
    pub(super) fn load(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Hands it a connection.
    pub(super) fn take(&self, arrival: AcceptedConnection) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        if self.arrivals.send(arrival).is_err() {
            tracing::error!("a core's thread panicked; this is a bug in Linger");
        }
    }

    /// Takes no more connections, and waits until it has ended those it has, and all guests.
    pub(super) async fn drain(self) {
        drop(self.arrivals);
        // An error: it has panicked, and so ended.
        let _ = self.ended.await;
    }
}

async fn serve(
    context: Arc<ShardContext>,
    mut inbox: mpsc::UnboundedReceiver<AcceptedConnection>,
    open: &Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            arrival = inbox.recv() => match arrival {
                Some(arrival) => begin(&mut connections, arrival, context.clone(), OpenConnection(open.clone())),
                None => break,
            },
            // Those that have ended leave the set.
            Some(ended) = connections.join_next() => log_panic(ended),
        }
    }
    while let Some(ended) = connections.join_next().await {
        log_panic(ended);
    }
    // With the last connection of all shards the apps go, and their instances end.
    let tasks = context.shard.tasks.clone();
    drop(context);
    tasks.close();
    tasks.wait().await;
}

/// Begins to serve a connection, in a task whose future holds no more than it needs: many stay open for long.
fn begin(
    connections: &mut JoinSet<()>,
    arrival: AcceptedConnection,
    context: Arc<ShardContext>,
    open: OpenConnection,
) {
    let AcceptedConnection { accepted, entrance, share, of_client } = arrival;
    let from = accepted.from;
    match accepted.stream() {
        Ok(stream) => {
            connections.spawn(async move {
                serve_connection(stream, from, &entrance, context).await;
                drop((share, of_client, open));
            });
        }
        Err(error) => tracing::error!("cannot serve a connection: {error}"),
    }
}

/// Counts a connection, until it is dropped.
struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection's task panicked; this is a bug in Linger: {error}");
    }
}
