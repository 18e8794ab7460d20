//! Watches the component files of apps with `watch`, and deploys changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use linger_base::FileStamp;
use linger_config::AppConfig;
use linger_wasm::{ComponentSource, LoadError};

use super::{AppSlot, DeployError, Deployments, UploadedComponent};

/// A file on which nothing was written for so long is taken for whole. What is not loads no component, and is tried again
/// when more is written.
const QUIET: Duration = Duration::from_millis(300);

/// A file is looked at no more often, whatever happens in its folder.
const PAUSE: Duration = Duration::from_millis(100);

/// How often files are looked at, for the changes that nobody tells of: on other machines, behind symbolic links, in folders
/// that go and come.
const LOOK: Duration = Duration::from_secs(2);

/// Watches the files, for as long as it is polled.
pub(super) async fn watch(deployments: &Deployments) {
    let watch_all = async |mut slots: Vec<Arc<AppSlot>>| {
        slots.retain(|slot| slot.spec().config.watch == Some(true));
        let (sender, changes) = watch::channel(());
        // Dropped, it watches no more.
        let _watcher = watcher(&slots, sender);
        join_all(slots.iter().map(|slot| watch_one(deployments, slot, changes.clone()))).await;
    };
    deployments.with_all(watch_all).await;
}

async fn watch_one(deployments: &Deployments, slot: &Arc<AppSlot>, mut changes: watch::Receiver<()>) {
    let app = &slot.spec().config;
    let file = &app.component;
    let mut unreadable = None;
    loop {
        if let Some(stamp) = settled(file, slot.seen()).await {
            match read(app).await {
                Ok(component) => {
                    let served = offer(deployments, slot, component).await;
                    slot.saw(stamp, served);
                }
                // It changes meanwhile, or will be readable later. It is said once.
                Err(error) => {
                    if unreadable.replace(stamp) != Some(stamp) {
                        tracing::warn!(app = &*slot.name, "not deployed yet: {error}");
                    }
                }
            }
        }
        sleep(PAUSE).await;
        // Without a watcher there is nothing but looking.
        if let Ok(Err(_)) = timeout(LOOK, changes.changed()).await {
            sleep(LOOK).await;
        }
    }
}

/// The state of a file that is another one than was seen, once nothing is written to it any more.
async fn settled(file: &Path, seen: Option<FileStamp>) -> Option<FileStamp> {
    let mut stamp = FileStamp::look(file).await.filter(|stamp| Some(*stamp) != seen)?;
    loop {
        sleep(QUIET).await;
        let now = FileStamp::look(file).await?;
        if std::mem::replace(&mut stamp, now) == now {
            return Some(stamp);
        }
    }
}

/// Deploys it, unless it serves, or was taken back. Returns whether it serves then.
async fn offer(deployments: &Deployments, slot: &Arc<AppSlot>, component: UploadedComponent) -> bool {
    if slot.was_taken_back(&component.digest) {
        tracing::warn!(
            app = &*slot.name,
            "{}: not deployed, because this version was rolled back before; use `linger deploy` to deploy it anyway",
            component.source.name.display()
        );
        return false;
    }
    loop {
        match deployments.deploy_to(slot, component.clone(), None).await {
            // This one comes after it.
            Err(DeployError::Busy) => sleep(QUIET).await,
            deployed => return matches!(deployed, Ok(_) | Err(DeployError::Unchanged(_))),
        }
    }
}

/// What the files of an app have now.
pub(super) async fn read(app: &AppConfig) -> Result<UploadedComponent, LoadError> {
    let app = app.clone();
    aside(move || read_now(&app)).await
}

/// The same, in the thread that calls.
pub(super) fn read_now(app: &AppConfig) -> Result<UploadedComponent, LoadError> {
    Ok(UploadedComponent::new(ComponentSource::read(&app.component)?, read_middleware(app)?, true))
}

/// What serves already, behind the middleware that there is now.
pub(super) async fn read_anew(
    component: &UploadedComponent,
    app: &AppConfig,
) -> Result<UploadedComponent, LoadError> {
    if app.middleware.is_empty() && component.middleware.is_empty() {
        return Ok(component.clone());
    }
    let (component, app) = (component.clone(), app.clone());
    aside(move || Ok(component.behind(read_middleware(&app)?))).await
}

/// What the files of an app's middleware have now. Blocks.
pub(super) fn read_middleware(app: &AppConfig) -> Result<Vec<ComponentSource>, LoadError> {
    app.middleware.iter().map(|file| ComponentSource::read(file)).collect()
}

async fn aside<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    // None of those panics.
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// The folders are watched, for files are mostly put in the place of others, which a watch of the file would not see.
fn watcher(slots: &[Arc<AppSlot>], changes: watch::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let folders: BTreeSet<_> = slots.iter().map(|slot| folder(&slot.spec().config.component)).collect();
    if folders.is_empty() {
        return None;
    }
    let told = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        // Whoever watches may have gone.
        let _ = changes.send(());
    };
    let mut watcher = notify::recommended_watcher(told)
        .inspect_err(|error| tracing::warn!("cannot watch files, so changes are noticed later: {error}"))
        .ok()?;
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            tracing::warn!(
                "{}: cannot watch the folder, so changes are noticed later: {error}",
                folder.display()
            );
        }
    }
    Some(watcher)
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
