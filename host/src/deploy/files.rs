//! Deploys what is written to the files of apps that want that.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{DeployError, Deployments, Slot, digest};
use crate::guest::Source;

/// A file on which nothing was written for so long is taken for whole. What is not loads no component, and is tried again
/// when more is written.
const QUIET: Duration = Duration::from_millis(300);

/// Watches the files, for as long as it is polled.
pub(super) async fn watch(deployments: &Deployments) {
    let slots: Vec<_> = deployments.slots().filter(|slot| slot.config.watch).cloned().collect();
    join_all(slots.iter().map(|slot| watch_one(deployments, slot))).await;
    // There is none, or none that can be watched.
    std::future::pending::<()>().await;
}

async fn watch_one(deployments: &Deployments, slot: &Arc<Slot>) {
    let file = &slot.config.component;
    let (sender, mut changes) = mpsc::unbounded_channel();
    // Dropped, it watches no more.
    let _watcher = match watcher(file, sender) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::error!(app = &*slot.name, "{}: cannot be watched: {error}", file.display());
            return;
        }
    };
    // It may have changed since it was loaded.
    let mut again = true;
    while again {
        while let Ok(Some(())) = timeout(QUIET, changes.recv()).await {}
        // If one from elsewhere is under way, this one comes after it.
        while let Err(DeployError::Busy) = offer(deployments, slot).await {
            sleep(QUIET).await;
        }
        again = changes.recv().await.is_some();
    }
}

/// Deploys what the file has now, unless it serves, or was refused, which was told then.
async fn offer(deployments: &Deployments, slot: &Arc<Slot>) -> Result<(), DeployError> {
    let Some((source, digest)) = read(&slot.config.component).await else { return Ok(()) };
    if slot.current().digest == digest || slot.was_refused(&digest) {
        return Ok(());
    }
    deployments.deploy_to(slot, source, digest).await.map(drop)
}

/// The folder is watched, for files are mostly put in the place of others, which a watch of the file would not see.
fn watcher(file: &Path, changes: mpsc::UnboundedSender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let name = file.file_name().map(OsStr::to_owned);
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let home = folder.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let concerns = |path: &PathBuf| path.file_name().map(OsStr::to_owned) == name;
        let news = match event {
            Ok(event) if event.kind.is_remove() && event.paths.contains(&home) => {
                tracing::error!("{}: the folder has gone: it is watched no more", home.display());
                false
            }
            Ok(event) => !event.kind.is_access() && event.paths.iter().any(concerns),
            // Some may have been lost: better to look once too often.
            Err(_) => true,
        };
        if news {
            // Whoever watches may have gone.
            let _ = changes.send(());
        }
    })?;
    watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// The file and its digest, unless it is being written or has gone.
async fn read(file: &Path) -> Option<(Source, Arc<str>)> {
    let path = file.to_owned();
    let read = move || {
        let before = std::fs::metadata(&path).ok()?;
        let source = Source::read(&path).ok()?;
        let after = std::fs::metadata(&path).ok()?;
        let same = before.modified().ok() == after.modified().ok() && before.len() == after.len();
        let digest = digest(&source);
        same.then_some((source, digest))
    };
    tokio::task::spawn_blocking(read).await.ok()?
}
