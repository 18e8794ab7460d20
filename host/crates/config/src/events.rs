//! Where events live.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::nats::NatsConfig;

/// Where events live.
#[derive(Clone, Debug, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// What keeps them.
    pub store: StoreKind,
    /// The directory of a store on disk, relative to the configuration's folder. It is made if it is not there,
    /// and one process has it at a time.
    #[schemars(example = &"events")]
    pub directory: Option<PathBuf>,
    /// When an event counts as stored on disk.
    pub durability: Durability,
    /// How NATS `JetStream` is reached, and what is kept there.
    pub nats: NatsConfig,
}

/// What keeps events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// Nothing outlives the process.
    #[default]
    Memory,
    /// Events are in a directory too, and are there again after a restart.
    Disk,
    /// Events are in NATS `JetStream`, which several hosts share.
    Nats,
}

/// When an event counts as stored on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// When the disk has it: nothing is lost with the machine's power. Those that come together share one write.
    #[default]
    Fsync,
    /// When the kernel has it: nothing is lost with the process, but the last moments with the machine's power.
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
            return Err("`nats` is for events in NATS; add `store = \"nats\"`, or leave it out".to_owned());
        }
        self.nats.complete(folder).map_err(|message| format!("nats: {message}"))?;
        match (self.store, &mut self.directory) {
            (StoreKind::Disk, None) => {
                Err("the store is on disk; say where: `directory = \"DIRECTORY\"`".to_owned())
            }
            (StoreKind::Memory | StoreKind::Nats, Some(_)) => {
                Err("`directory` is for a store on disk; add `store = \"disk\"`, or leave it out".to_owned())
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
