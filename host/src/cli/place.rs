//! Where the events are that a command is about: with a server that runs, or in a directory that no server has open.

use std::path::PathBuf;

use clap::Args;

use super::admin::AdminServer;
use super::offline::DirectoryArgs;

/// Where the events are.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Use the store in this directory, offline: no server may have it open. Without this option, the command asks
    /// the server at `--admin`
    #[arg(long, value_name = "DIRECTORY")]
    store: Option<PathBuf>,

    #[command(flatten)]
    server: AdminServer,
}

/// A server's events, or those of a store on disk.
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
