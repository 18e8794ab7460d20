//! The store for events.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::nats::NatsConfig;

/// The store for events.
#[derive(Clone, Debug, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// The kind of store.
    pub store: StoreKind,
    /// The directory of a store on disk, relative to the configuration's folder. Created if it does not exist. Only
    /// one process can open it at a time.
    #[schemars(example = &"events")]
    pub directory: Option<PathBuf>,
    /// When an event counts as stored on disk.
    pub durability: Durability,
    /// The connection to NATS `JetStream`, and how it keeps events.
    pub nats: NatsConfig,
}

/// The kind of store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// In memory: events are lost when the process ends.
    #[default]
    Memory,
    /// In a directory: events survive a restart.
    Disk,
    /// In NATS `JetStream`: several hosts share the events.
    Nats,
}

/// When an event counts as stored on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// When the disk has it: no event is lost in a power failure. Concurrent events share one write.
    #[default]
    Fsync,
    /// When the kernel has it: no event is lost in a crash of the process, but the latest ones are lost in a power
    /// failure.
    Buffered,
}

impl EventsConfig {
    /// Events on disk in this directory.
    #[must_use]
    pub fn on_disk(directory: PathBuf) -> Self {
        Self { store: StoreKind::Disk, directory: Some(directory), ..Self::default() }
    }

    pub(super) fn complete(&mut self, folder: &Path) -> Result<(), String> {
        if self.store != StoreKind::Nats && self.nats != NatsConfig::default() {
            return Err("`nats` is for a store in NATS; set `store = \"nats\"`, or remove it".to_owned());
        }
        self.nats.complete(folder).map_err(|message| format!("nats: {message}"))?;
        match (self.store, &mut self.directory) {
            (StoreKind::Disk, None) => {
                Err("a store on disk needs a directory; set `directory = \"DIRECTORY\"`".to_owned())
            }
            (StoreKind::Memory | StoreKind::Nats, Some(_)) => {
                Err("`directory` is for a store on disk; set `store = \"disk\"`, or remove it".to_owned())
            }
            (_, directory) => {
                if let Some(directory) = directory {
                    *directory = folder.join(&*directory);
                }
                Ok(())
            }
        }
    }
}
