//! Where the events are that a command is about: with a server that runs, or in a directory that no server has open.

use std::path::PathBuf;

use clap::Args;

use super::admin::Server;
use super::offline::Directory;

/// Where the events are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The directory that `linger serve` is given by `--store`, which no server may have open; without it, those of the server
    /// are meant whose admin listener is named
    #[arg(long, value_name = "DIRECTORY")]
    store: Option<PathBuf>,

    #[command(flatten)]
    server: Server,
}

/// One of the two.
pub(super) enum Events {
    Stored(Directory),
    Served(Server),
}

impl Place {
    pub(super) fn events(self) -> Events {
        match self.store {
            Some(directory) => Events::Stored(Directory::new(directory)),
            None => Events::Served(self.server),
        }
    }
}
