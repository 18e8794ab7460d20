//! Where the events are that a command is about: with a server that runs, or in a directory that no server has open.

use std::path::PathBuf;

use clap::Args;

use super::admin::AdminServer;
use super::offline::DirectoryArgs;

/// Where the events are.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// The directory that `linger serve` is given by `--store`, which no server may have open; without it, those of the server
    /// are meant whose admin listener is named
    #[arg(long, value_name = "DIRECTORY")]
    store: Option<PathBuf>,

    #[command(flatten)]
    server: AdminServer,
}

/// One of the two.
pub(super) enum EventsPlace {
    Stored(DirectoryArgs),
    Served(AdminServer),
}

impl EventsArgs {
    pub(super) fn events(self) -> EventsPlace {
        match self.store {
            Some(directory) => EventsPlace::Stored(DirectoryArgs::new(directory)),
            None => EventsPlace::Served(self.server),
        }
    }
}
