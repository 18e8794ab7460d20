use std::fs;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use tempfile::TempDir;

use super::*;
use crate::{Cursor, Event, EventId, EventStore, Lease, NewEvent, Schedule, Settlement, TopicBatch};

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

fn open_with(folder: &TempDir, queues: &str, topics: &str) -> Arc<DiskStore> {
    let (queues, topics) = (toml::from_str(queues).unwrap(), toml::from_str(topics).unwrap());
    DiskStore::open(folder.path(), Durability::Fsync, queues, topics).unwrap()
}

fn open(folder: &TempDir) -> Arc<DiskStore> {
    open_with(folder, "", "")
}

async fn push(store: &Arc<DiskStore>, queue: &str, text: &str) -> EventId {
    let event =
        NewEvent { data: Bytes::copy_from_slice(text.as_bytes()), content_type: Some("text/plain".into()) };
    store.clone().push(&name(queue), event, Schedule::default()).await.unwrap()
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
    take(&store, "q").await.settle(Settlement::Ack).await.unwrap();
    drop(store);
    let store = open(&folder);
    assert_eq!(store.usage().events, 2);
    let new = push(&store, "q", "d").await;
    assert!(!ids.contains(&new));
    for (text, id) in [("b", &ids[1]), ("c", &ids[2]), ("d", &new)] {
        let lease = take(&store, "q").await;
        assert_eq!(seen(lease.event()), (text, 1, false));
        assert_eq!((&lease.event().id, lease.event().content_type.as_deref()), (id, Some("text/plain")));
        lease.settle(Settlement::Ack).await.unwrap();
    }
    drop(store);
    assert_eq!(check(folder.path()).unwrap(), DirectoryContents::default());
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
    a.settle(Settlement::Requeue { maybe_delivered: false }).await.unwrap();
    c.settle(Settlement::Requeue { maybe_delivered: true }).await.unwrap();
    let again = open(&killed(&folder));
    assert_eq!(seen(take(&again, "q").await.event()), ("a", 2, false));
    assert_eq!(seen(take(&again, "w").await.event()), ("c", 2, true));
}

async fn publish(store: &Arc<DiskStore>, topic: &str, text: &str) -> Cursor {
    let event = NewEvent { data: Bytes::copy_from_slice(text.as_bytes()), content_type: None };
    store.clone().publish(&name(topic), event).await.unwrap()
}

async fn read(store: &Arc<DiskStore>, topic: &str, after: Option<Cursor>) -> TopicBatch {
    let read = store.clone().read(&name(topic), after, 100);
    tokio::time::timeout(Duration::from_secs(30), read).await.unwrap().unwrap()
}

fn texts(batch: &TopicBatch) -> Vec<&str> {
    batch.events.iter().map(|event| std::str::from_utf8(&event.data).unwrap()).collect()
}

#[tokio::test]
async fn cursors_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (a, _) = (publish(&store, "t", "a").await, publish(&store, "t", "b").await);
    let store = open(&killed(&folder));
    let batch = read(&store, "t", Some(a)).await;
    assert_eq!((texts(&batch), batch.missed, batch.restarted), (vec!["b"], 0, false));
    assert_eq!(store.clone().end(&name("t")).await.unwrap(), batch.next);
    let c = publish(&store, "t", "c").await;
    assert_ne!(c.epoch, a.epoch);
    // Old and new cursors mean places in one row.
    let batch = read(&store, "t", Some(batch.next)).await;
    assert_eq!((texts(&batch), batch.next, batch.missed, batch.restarted), (vec!["c"], c, 0, false));
    assert_eq!(texts(&read(&store, "t", Some(a)).await), ["b", "c"]);
}

#[tokio::test]
async fn cursor_of_what_was_lost_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let a = publish(&store, "t", "a").await;
    let before = killed(&folder);
    // This one does not outlive the loss of power, and somebody has read it.
    let lost = publish(&store, "t", "lost").await;
    let store = open(&before);
    for text in ["b", "c", "d"] {
        publish(&store, "t", text).await;
    }
    let batch = read(&store, "t", Some(lost)).await;
    assert_eq!((texts(&batch), batch.restarted), (vec!["b", "c", "d"], true));
    let batch = read(&store, "t", Some(a)).await;
    assert_eq!((texts(&batch), batch.missed, batch.restarted), (vec!["b", "c", "d"], 0, false));
}

#[tokio::test]
async fn topic_without_events_goes_on_with_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with(&folder, "", "keep_for = '1ms'\n[[rules]]\nname = 'kept'\nkeep_for = 'none'");
    let mut cursors = Vec::new();
    for text in ["a", "b", "c"] {
        cursors.push(publish(&store, "t", text).await);
        publish(&store, "kept", text).await;
    }
    while store.usage().published > 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        store.act();
    }
    // Whatever is written after it has been.
    publish(&store, "other", "").await;
    let copy = killed(&folder);
    let store = open(&copy);
    assert_eq!(texts(&read(&store, "kept", None).await), ["a", "b", "c"]);
    let end = store.clone().end(&name("t")).await.unwrap();
    publish(&store, "t", "d").await;
    let batch = read(&store, "t", Some(cursors[0])).await;
    assert_eq!(texts(&batch), ["d"]);
    if batch.restarted {
        // It was over long enough to be forgotten by then: no cursor of it is taken for one of the new topic.
        return;
    }
    assert_eq!((end, batch.missed), (cursors[2], 2));
}

#[tokio::test]
async fn times_of_events_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let schedule = |delay, time_to_live| Schedule { delay, time_to_live };
    let (brief, hour) = (Some(Duration::from_millis(1)), Some(Duration::from_hours(1)));
    for (queue, schedule) in
        [("late", schedule(hour, None)), ("brief", schedule(None, brief)), ("ready", schedule(brief, hour))]
    {
        store.clone().push(&name(queue), NewEvent::default(), schedule).await.unwrap();
    }
    let copy = killed(&folder);
    tokio::time::sleep(Duration::from_millis(2)).await;
    let store = open(&copy);
    assert_eq!(store.usage().events, 2);
    take(&store, "ready").await.settle(Settlement::Ack).await.unwrap();
    assert!(store.clone().take(&name("late")).now_or_never().is_none());
    drop(store);
    let names: Vec<_> = check(copy.path()).unwrap().queues.into_iter().map(|queue| queue.name).collect();
    assert_eq!(names, [name("late")]);
}

#[tokio::test]
async fn dead_letters_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with(&folder, "max_attempts = 1", "");
    let id = push(&store, "q", "poison").await;
    take(&store, "q").await.settle(Settlement::Requeue { maybe_delivered: true }).await.unwrap();
    let store = open(&killed(&folder));
    let dead = take(&store, "q.dead").await;
    assert_eq!((seen(dead.event()), &dead.event().id), (("poison", 2, true), &id));
    assert_eq!(store.usage().queues, 1);
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
    let open = || {
        DiskStore::open(folder.path(), Durability::Fsync, QueuesConfig::default(), TopicsConfig::default())
            .err()
            .unwrap()
    };
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
                assert_eq!(contents.queues.iter().map(|queue| queue.events).sum::<usize>(), 50, "{file:?}");
            }
            Err(error) => assert!(matches!(error, OpenError::Damaged(..) | OpenError::Io(..)), "{error}"),
        }
    }
}
