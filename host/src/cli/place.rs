//! Where the events are that a command is about: with a server that runs, or in a directory that no server has open.

use std::path::PathBuf;

use clap::Args;

use super::admin::Server;
use super::offline::Directory;

/// Where the events are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Use the store in this directory, offline: no server may have it open. Without this option, the command asks
    /// the server at `--admin`
    #[arg(long, value_name = "DIRECTORY")]
    store: Option<PathBuf>,

    #[command(flatten)]
    server: Server,
}

/// A server's events, or those of a store on disk.
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
