//! Other servers with the contract of the long-poll examples.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::log::ServerLog;

/// A server of `tests/peers`, as a process. Dropped, it is killed.
pub(crate) struct Peer {
    child: Child,
    url: String,
    /// Where it was built.
    _folder: TempDir,
}

/// A certificate for the loopback address, and its key, as PEM files.
pub(crate) struct Certificate {
    folder: TempDir,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { folder }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}

impl Peer {
    /// The one in Go, or none where Go is missing.
    pub(crate) async fn go(certificate: Option<&Certificate>) -> Option<Self> {
        if !is_there("go", "version") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("peer");
        let built =
            Command::new("go").arg("build").arg("-o").arg(&program).arg(source("go/main.go")).status();
        assert!(built.unwrap().success(), "the peer in Go does not build");
        Some(Self::spawn(Command::new(program), folder, certificate).await)
    }

    /// The one in Node, or none where Node is missing.
    pub(crate) async fn node(certificate: Option<&Certificate>) -> Option<Self> {
        if !is_there("node", "--version") {
            return None;
        }
        let mut command = Command::new("node");
        command.arg(source("node/server.js"));
        Some(Self::spawn(command, tempfile::tempdir().unwrap(), certificate).await)
    }

    async fn spawn(mut command: Command, folder: TempDir, certificate: Option<&Certificate>) -> Self {
        command.args(["--listen", "127.0.0.1:0"]);
        if let Some(certificate) = certificate {
            command.arg("--cert").arg(certificate.file()).arg("--key").arg(certificate.key());
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = ServerLog::of(child.stdout.take().unwrap());
        // From here on it is killed whatever happens.
        let mut peer = Self { child, url: String::new(), _folder: folder };
        let said = output.line(&["listening on"]).await;
        said.strip_prefix("listening on ").expect(&said).clone_into(&mut peer.url);
        peer
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have exited.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers").join(file)
}

/// Whether there is such a tool; otherwise says that the test is skipped.
pub(crate) fn is_there(tool: &str, argument: &str) -> bool {
    let there =
        Command::new(tool).arg(argument).stdout(Stdio::null()).status().is_ok_and(|ran| ran.success());
    if !there {
        println!("skipped: there is no `{tool}` here");
    }
    there
}

/// What is wrong with a [`Naive`] server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It hands each event to the first poll without a look at its client, as if nobody ever left.
    Loses,
    /// It keeps each event that it has handed out.
    Repeats,
}

/// A server that is not careful. Speaks as much HTTP/1.1 as the suite needs.
pub(crate) struct Naive {
    pub(crate) address: SocketAddr,
    /// Ends with it.
    _tasks: JoinSet<()>,
}

type Queues = Arc<Mutex<HashMap<String, Line>>>;

#[derive(Default)]
struct Line {
    events: VecDeque<Vec<u8>>,
    waiters: VecDeque<oneshot::Sender<Vec<u8>>>,
}

impl Naive {
    pub(crate) async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let queues = Queues::default();
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let queues = queues.clone();
                connections.spawn(async move { drop(serve_naively(stream, &queues, fault).await) });
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn serve_naively(stream: TcpStream, queues: &Queues, fault: Fault) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut words = head.split([' ', '/', '?']).filter(|word| !word.is_empty());
        let (Some(method), Some(_), Some(queue)) = (words.next(), words.next(), words.next()) else {
            return Ok(());
        };
        let answer = if method == "post" {
            let mut event = vec![0; length.unwrap_or("0").parse().unwrap_or(0)];
            stream.read_exact(&mut event).await?;
            give(queues, queue, event);
            b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec()
        } else {
            let wait = words.next().and_then(|word| word.strip_prefix("wait=")).unwrap_or("0");
            match take(queues, queue, Duration::from_secs(wait.parse().unwrap_or(0))).await {
                None => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
                Some(event) => {
                    if fault == Fault::Repeats {
                        give(queues, queue, event.clone());
                    }
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", event.len());
                    [head.as_bytes(), &event].concat()
                }
            }
        };
        stream.get_mut().write_all(&answer).await?;
    }
}

fn give(queues: &Queues, queue: &str, event: Vec<u8>) {
    let mut queues = queues.lock().unwrap();
    let line = queues.entry(queue.to_owned()).or_default();
    let mut event = Some(event);
    // A poll whose time was up is gone from the line.
    while let Some(unwanted) = event.take() {
        match line.waiters.pop_front() {
            Some(waiter) => event = waiter.send(unwanted).err(),
            None => return line.events.push_back(unwanted),
        }
    }
}

async fn take(queues: &Queues, queue: &str, wait: Duration) -> Option<Vec<u8>> {
    let waiter = {
        let mut queues = queues.lock().unwrap();
        let line = queues.entry(queue.to_owned()).or_default();
        if let Some(event) = line.events.pop_front() {
            return Some(event);
        }
        let (sender, waiter) = oneshot::channel();
        line.waiters.push_back(sender);
        waiter
    };
    tokio::time::timeout(wait, waiter).await.ok()?.ok()
}
