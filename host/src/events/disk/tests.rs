use std::fs;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::events::{Event, EventStore, Lease, NewEvent, Settlement};

fn name(name: &str) -> QueueName {
    name.parse().unwrap()
}

fn open(folder: &TempDir) -> Arc<DiskStore> {
    DiskStore::open(folder.path(), Durability::Fsync, QueueLimits::default()).unwrap()
}

async fn push(store: &Arc<DiskStore>, queue: &str, text: &str) -> Arc<str> {
    let event =
        NewEvent { data: Bytes::copy_from_slice(text.as_bytes()), content_type: Some("text/plain".into()) };
    store.clone().push(&name(queue), event).await.unwrap()
}

async fn take(store: &Arc<DiskStore>, queue: &str) -> Lease {
    tokio::time::timeout(Duration::from_secs(30), store.clone().take(&name(queue))).await.unwrap().unwrap()
}

/// A copy of the directory as it is now, as if the process had been killed.
fn killed(folder: &TempDir) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir(&to).unwrap();
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(folder.path(), to.path());
    to
}

fn seen(event: &Event) -> (&str, u32, bool) {
    (std::str::from_utf8(&event.data).unwrap(), event.attempt, event.maybe_delivered)
}

#[tokio::test]
async fn restart_finds_all_in_order_and_numbers_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let ids = [push(&store, "q", "a").await, push(&store, "q", "b").await, push(&store, "q", "c").await];
    take(&store, "q").await.settle(Settlement::Commit).await.unwrap();
    drop(store);
    let store = open(&folder);
    assert_eq!(store.usage().events, 2);
    let new = push(&store, "q", "d").await;
    assert!(!ids.contains(&new));
    for (text, id) in [("b", &ids[1]), ("c", &ids[2]), ("d", &new)] {
        let lease = take(&store, "q").await;
        assert_eq!(seen(lease.event()), (text, 1, false));
        assert_eq!((&lease.event().id, lease.event().content_type.as_deref()), (id, Some("text/plain")));
        lease.settle(Settlement::Commit).await.unwrap();
    }
    drop(store);
    assert_eq!(check(folder.path()).unwrap(), Contents::default());
}

#[tokio::test]
async fn kill_puts_back_what_was_handed_out_and_flags_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    // One is taken from the queue, and one is waited for.
    for text in ["a", "b"] {
        push(&store, "q", text).await;
    }
    let a = take(&store, "q").await;
    let wait = store.clone().take(&name("w"));
    push(&store, "w", "c").await;
    let c = wait.await.unwrap();
    let copy = killed(&folder);
    let again = open(&copy);
    assert_eq!(seen(take(&again, "q").await.event()), ("a", 2, true));
    assert_eq!(seen(take(&again, "w").await.event()), ("c", 2, true));
    // What was taken and put back in order is not flagged.
    a.settle(Settlement::PutBack { maybe_delivered: false }).await.unwrap();
    c.settle(Settlement::PutBack { maybe_delivered: true }).await.unwrap();
    let again = open(&killed(&folder));
    assert_eq!(seen(take(&again, "q").await.event()), ("a", 2, false));
    assert_eq!(seen(take(&again, "w").await.event()), ("c", 2, true));
}

#[tokio::test]
async fn directory_has_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(&folder);
    let error = check(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
}

#[test]
fn what_is_no_store_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let open = || DiskStore::open(folder.path(), Durability::Fsync, QueueLimits::default()).err().unwrap();
    fs::write(folder.path().join("diary"), "dear").unwrap();
    assert!(matches!(open(), OpenError::Foreign(_)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    fs::write(folder.path().join("FORMAT"), "linger store 2\n").unwrap();
    let error = open();
    assert!(matches!(error, OpenError::Format { .. }));
    assert!(error.to_string().contains("linger store 2"), "{error}");
    assert!(matches!(check(&folder.path().join("none")), Err(OpenError::Io(..))));
}

#[tokio::test]
async fn damage_is_told_or_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for number in 0..50 {
        push(&store, "q", &number.to_string()).await;
    }
    drop(store);
    let files = |folder: &TempDir| {
        let files = fs::read_dir(folder.path().join("events")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    for place in 0..files(&folder).len() {
        let copy = killed(&folder);
        let file = &files(&copy)[place];
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 3;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 0xff;
        }
        fs::write(file, bytes).unwrap();
        match check(copy.path()) {
            Ok(contents) => {
                assert_eq!(contents.queues.iter().map(|queue| queue.1).sum::<usize>(), 50, "{file:?}");
            }
            Err(error) => assert!(matches!(error, OpenError::Damaged(..) | OpenError::Io(..)), "{error}"),
        }
    }
}
