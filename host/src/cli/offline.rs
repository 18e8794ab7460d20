//! What the commands share that use a store's directory while no host runs.

use std::future::Future;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;

use linger_config::{EventsConfig, QueuesConfig, TopicsConfig};
use linger_events::{DirectoryContents, EventStore, NewEvent};

/// The directory of a store.
pub(super) struct DirectoryArgs {
    store: PathBuf,
}

impl DirectoryArgs {
    pub(super) fn new(store: PathBuf) -> Self {
        Self { store }
    }

    /// Opens the store for one action, and flushes its writes.
    pub(super) fn with<T, F>(&self, action: impl FnOnce(Arc<dyn EventStore>) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        // What the host's configuration says of limits and retention is not known here.
        let (queues, topics) = (QueuesConfig::unbounded(), TopicsConfig::unbounded());
        let store = linger_events::open(&EventsConfig::on_disk(self.store.clone()), queues, topics)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.context("cannot start the runtime")?;
        // Dropped with the action, the store has written what it was given.
        runtime.block_on(action(store))
    }

    /// The contents. Fails if there is no store yet.
    pub(super) fn contents(&self) -> anyhow::Result<DirectoryContents> {
        Ok(linger_events::check(&self.store)?)
    }
}

/// The event's data and media type.
#[derive(Debug, Args)]
pub(super) struct PayloadArgs {
    /// The file with the event's bytes; standard input if omitted or `-`
    file: Option<PathBuf>,

    /// The media type of the event
    #[arg(long, value_name = "TYPE", value_parser = content_type)]
    content_type: Option<Arc<str>>,
}

impl PayloadArgs {
    pub(super) fn read(self) -> anyhow::Result<NewEvent> {
        let data = match self.file.filter(|file| file != Path::new("-")) {
            Some(file) => std::fs::read(&file).map_err(|error| {
                anyhow!("{}: {error}; give the path of a file with the event's bytes", file.display())
            }),
            None => standard_input(),
        }?;
        Ok(NewEvent { data: data.into(), content_type: self.content_type })
    }
}

fn standard_input() -> anyhow::Result<Vec<u8>> {
    let mut data = Vec::new();
    std::io::stdin().read_to_end(&mut data).context("cannot read standard input")?;
    Ok(data)
}

fn content_type(text: &str) -> Result<Arc<str>, String> {
    if linger_events::is_content_type(text) {
        Ok(text.into())
    } else {
        Err("a content type is at most 256 bytes that a header can hold".to_owned())
    }
}
