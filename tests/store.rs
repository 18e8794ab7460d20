//! Events on disk: a host that stops or is killed finds them again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::{
    Answer, H1, Http1, Request, Server, assert_refused, component, eventually, linger, serve_in_vain, text,
};

/// How often a host is killed. `LINGER_KILLS` sets another number, for a longer run.
const KILLS: usize = 6;

const QUEUES: usize = 3;

/// Connections on which one client has read an answer and says nothing, so that its receipt is awaited.
const SILENT: usize = 5;

async fn serve(directory: &Path, durability: &str) -> Server {
    // A machine that stands still for a while does not make an answer one that was read.
    Server::with_config(&format!(
        "detection.confirm_window = '20s'\n[events]\nstore = 'disk'\ndirectory = '{}'\ndurability = '{durability}'\n\
         [apps.app]\ncomponent = '{{longpoll}}'\n",
        directory.display()
    ))
    .await
}

async fn stop(mut server: Server) {
    server.signal(Signal::TERM);
    assert!(server.exit().await.success());
}

fn checked(directory: &Path) -> String {
    let output = linger(&["store".as_ref(), "check".as_ref(), directory.as_os_str()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

async fn push(server: &Server, queue: &str, event: &str) {
    let push =
        Request::post(&format!("/push/{queue}"), event.to_owned()).header("content-type", "text/plain");
    server.send(H1, &push).await.expect(202);
}

#[tokio::test]
async fn restart_finds_what_was_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("new/store");
    let server = serve(&directory, "fsync").await;
    for event in ["one", "two", "three"] {
        push(&server, "q", event).await;
    }
    assert_eq!(server.get("/poll/q").await.expect(200), "one");
    assert_refused(
        &linger(&["store".as_ref(), "check".as_ref(), directory.as_os_str()]),
        &["is in use by another process", "choose another directory"],
    );
    stop(server).await;
    assert_eq!(
        checked(&directory),
        "queue q: 2 events, 8 B\n1 queues, 0 topics, 2 events, 8 B: no damage found\n"
    );
    let server = serve(&directory, "fsync").await;
    for event in ["two", "three"] {
        let answer = server.get("/poll/q").await;
        assert_eq!((answer.expect(200), answer.header("content-type")), (event, Some("text/plain")));
        assert_eq!(answer.header("maybe-delivered"), None);
    }
    server.get("/poll/q?wait=0").await.expect(204);
    stop(server).await;
}

#[tokio::test]
async fn directory_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("diary"), "dear").unwrap();
    let output = serve_in_vain(&component("longpoll"), &["--store".as_ref(), folder.path().as_os_str()]);
    assert_refused(&output, &["is not a store of Linger", "choose another one"]);
}

#[tokio::test]
async fn kill_loses_nothing_that_was_answered_fsync() {
    kill_loses_nothing_that_was_answered("fsync").await;
}

#[tokio::test]
async fn kill_loses_nothing_that_was_answered_buffered() {
    kill_loses_nothing_that_was_answered("buffered").await;
}

/// A file system of its own size, where the tests may make one.
pub(crate) struct Mount(TempDir);

impl Mount {
    pub(crate) fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        mount(&["-t", "tmpfs", "-o", options, "tmpfs"], folder.path()).then(|| Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn change(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], self.0.path()));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn mount(arguments: &[&str], folder: &Path) -> bool {
    let mounted = Command::new("mount").args(arguments).arg(folder).stderr(Stdio::null()).status();
    mounted.is_ok_and(|status| status.success())
}

/// Some hundred kilobytes.
fn event(number: usize) -> String {
    format!("{number:07}").repeat(50_000)
}

/// Who puts each event into a queue and into a topic, and knows which were taken.
#[derive(Default)]
struct Producer {
    next: usize,
    pushed: Vec<usize>,
    published: Vec<usize>,
}

impl Producer {
    /// Whether both took the next event.
    async fn stores(&mut self, server: &Server) -> bool {
        let number = self.next;
        self.next += 1;
        let pushed = is_stored(server, "/push/q", number).await;
        let published = is_stored(server, "/publish/t", number).await;
        self.pushed.extend(pushed.then_some(number));
        self.published.extend(published.then_some(number));
        pushed && published
    }

    /// Fails if the topic has anything else than what it took.
    async fn check_topic(&self, server: &Server) {
        let mut target = "/follow/t?wait=5".to_owned();
        for &number in &self.published {
            let answer = server.get(&target).await;
            assert_eq!(answer.expect(200), event(number));
            target = format!("/follow/t?wait=0&after={}", answer.header("event-cursor").unwrap());
        }
        server.get(&target).await.expect(204);
    }
}

async fn is_stored(server: &Server, target: &str, number: usize) -> bool {
    let answer = server.send(H1, &Request::post(target, event(number))).await;
    if answer.status != 202 {
        assert_eq!(answer.expect(503), "the store is unavailable\n");
    }
    answer.status == 202
}

#[tokio::test]
async fn full_disk_is_an_error_until_there_is_room() {
    let Some(disk) = Mount::new("size=200m") else {
        println!("skipped: a disk cannot be full here (it takes root to make one)");
        return;
    };
    let directory = disk.0.path().join("store");
    let server = serve(&directory, "fsync").await;
    let mut producer = Producer::default();
    assert!(producer.stores(&server).await);
    disk.change("size=12m");
    // Each finds the disk a little fuller.
    eventually("an event is refused", async || (!producer.stores(&server).await).then_some(())).await;
    server.log.line(&["the store cannot write"]).await;
    disk.change("size=200m");
    eventually("the store writes again", async || producer.stores(&server).await.then_some(())).await;
    producer.check_topic(&server).await;
    stop(server).await;
    // What was refused is not there after a restart either.
    let server = serve(&directory, "fsync").await;
    producer.check_topic(&server).await;
    for number in producer.pushed {
        assert_eq!(server.get("/poll/q?wait=5").await.expect(200), event(number));
    }
    server.get("/poll/q?wait=0").await.expect(204);
    stop(server).await;
    disk.change("ro");
    let output = serve_in_vain(&component("longpoll"), &["--store".as_ref(), directory.as_os_str()]);
    assert_refused(&output, &["Read-only file system", "needs write access"]);
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    answered: HashSet<String>,
    /// How often each was read without a flag, and with one.
    read: HashMap<String, (usize, usize)>,
}

async fn kill_loses_nothing_that_was_answered(durability: &str) {
    let folder = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let kills = std::env::var("LINGER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for life in 0..kills {
        let mut server = serve(folder.path(), durability).await;
        let mut clients = clients(server.address(), life, &seen);
        // Each life a little longer than the one before: it is killed wherever it is then.
        let enough = 50 * (life % 10 + 1);
        let before = seen.lock().unwrap().answered.len();
        for count in before..before + enough {
            // Each by itself: a disk that is busy elsewhere can take a second for one.
            let answered = async || (seen.lock().unwrap().answered.len() > count).then_some(());
            eventually("a push is answered", answered).await;
        }
        server.signal(Signal::KILL);
        server.exit().await;
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
    }
    drain(folder, durability, &seen).await;
    let Seen { answered, read } = &*seen.lock().unwrap();
    let lost: Vec<_> = answered.iter().filter(|event| !read.contains_key(*event)).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), answered.len());
    let doubled: Vec<_> = read.iter().filter(|(_, (unflagged, _))| *unflagged > 1).collect();
    assert!(doubled.is_empty(), "came twice without a flag: {doubled:?}");
    println!(
        "{durability}: {kills} kills, {} events, {} read again",
        answered.len(),
        read.values().filter(|(unflagged, flagged)| unflagged + flagged > 1).count()
    );
}

/// Everybody who is there when a host is killed.
fn clients(address: SocketAddr, life: usize, seen: &Arc<Mutex<Seen>>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for queue in 0..QUEUES {
        clients.spawn(produce(address, life, queue, seen.clone()));
        clients.spawn(consume(address, queue, seen.clone()));
        clients.spawn(be_silent(address, queue, seen.clone()));
        clients.spawn(leave(address, queue));
    }
    clients
}

async fn produce(address: SocketAddr, life: usize, queue: usize, seen: Arc<Mutex<Seen>>) {
    let Some(mut client) = Http1::try_connect(address).await else { return };
    for number in 0.. {
        let event = format!("{life}-{queue}-{number}");
        let push = Request::post(&format!("/push/q{queue}"), event.clone());
        let Some(answer) = client.try_ask(&push).await else { return };
        answer.expect(202);
        seen.lock().unwrap().answered.insert(event);
    }
}

async fn consume(address: SocketAddr, queue: usize, seen: Arc<Mutex<Seen>>) {
    let Some(mut client) = Http1::try_connect(address).await else { return };
    while let Some(answer) = client.try_ask(&poll(queue)).await {
        note(&answer, &seen);
    }
}

/// Reads an answer and neither asks nor closes, so that it is not settled yet; the next one elsewhere.
async fn be_silent(address: SocketAddr, queue: usize, seen: Arc<Mutex<Seen>>) {
    let mut silent = VecDeque::new();
    while let Some(mut client) = Http1::try_connect(address).await {
        let Some(answer) = client.try_ask(&poll(queue)).await else { return };
        note(&answer, &seen);
        silent.push_back(client);
        if silent.len() > SILENT {
            silent.pop_front();
        }
    }
}

/// Leaves with its answer unread, or without one, so that events are put back all the time.
async fn leave(address: SocketAddr, queue: usize) {
    for number in 0.. {
        let Some(mut client) = Http1::try_connect(address).await else { return };
        if !client.try_send_request(&poll(queue)).await {
            return;
        }
        if number % 3 > 0 {
            client.is_readable().await;
        }
        if number % 2 == 0 {
            client.reset();
        }
    }
}

fn poll(queue: usize) -> Request {
    Request::get(&format!("/poll/q{queue}?wait=60"))
}

fn note(answer: &Answer, seen: &Mutex<Seen>) {
    let flagged = answer.header("maybe-delivered").is_some();
    let mut seen = seen.lock().unwrap();
    let (plain, again) = seen.read.entry(answer.expect(200).to_owned()).or_default();
    // An event that was read comes again only with the flag.
    assert!(flagged || *plain + *again == 0, "{} comes again without a flag", answer.text());
    *(if flagged { again } else { plain }) += 1;
}

async fn drain(folder: TempDir, durability: &str, seen: &Mutex<Seen>) {
    checked(folder.path());
    let server = serve(folder.path(), durability).await;
    for queue in 0..QUEUES {
        loop {
            // One that does not wait can be over before a busy disk has noted whom it gives the event.
            let answer = server.get(&format!("/poll/q{queue}?wait=1")).await;
            if answer.status == 204 {
                break;
            }
            note(&answer, seen);
        }
    }
    stop(server).await;
    let contents = checked(folder.path());
    assert!(contents.contains("0 queues, 0 topics, 0 events"), "{contents}");
}
