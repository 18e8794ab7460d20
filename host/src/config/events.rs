//! Where events live.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where events live.
#[derive(Clone, Debug, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// What keeps them.
    pub store: Store,
    /// The directory of a store on disk, relative to the configuration's folder. It is made if it is not there,
    /// and one process has it at a time.
    #[schemars(example = &"events")]
    pub directory: Option<PathBuf>,
    /// When an event counts as stored on disk.
    pub durability: Durability,
}

/// What keeps events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// Nothing outlives the process.
    #[default]
    Memory,
    /// Events are in a directory too, and are there again after a restart.
    Disk,
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

impl Events {
    /// Events on disk in this directory.
    #[must_use]
    pub fn on_disk(directory: PathBuf) -> Self {
        Self { store: Store::Disk, directory: Some(directory), durability: Durability::default() }
    }

    pub(super) fn complete(&mut self, folder: &Path) -> Result<(), String> {
        match (self.store, &mut self.directory) {
            (Store::Disk, None) => {
                Err("the store is on disk; say where: `directory = \"DIRECTORY\"`".to_owned())
            }
            (Store::Memory, Some(_)) => {
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
