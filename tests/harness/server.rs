//! The real binary, as a process of its own.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::log::ServerLog;
use super::{Answer, Certificate, Http1, Http2, Open, Protocol, Request, component, eventually, soon};

/// A variable that the server has in its own environment, and that no guest may see.
pub(crate) const SECRET: &str = "LINGER_TEST_SECRET";

const PATIENT: &str = "[detection]\nconfirm_window = '20s'\n";

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running server. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    pub(crate) log: ServerLog,
    /// What it says on its standard output.
    pub(crate) output: ServerLog,
    /// Where its configuration is; relative paths start here.
    folder: TempDir,
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linger"));
    command.env("LINGER_LOG_FORMAT", "text");
    command.env_remove("LINGER_LOG").env_remove("RUST_BACKTRACE").env(SECRET, "seen").stdin(Stdio::null());
    command
}

fn tls(certificate: &Certificate) -> String {
    let (certificate, key) = (certificate.file(), certificate.key());
    format!("tls = {{ certificate = '{}', key = '{}' }}\n", certificate.display(), key.display())
}

/// Runs a command of the binary to its end.
pub(crate) fn linger(arguments: &[impl AsRef<OsStr>]) -> Output {
    command().args(arguments).output().unwrap()
}

/// Runs `linger serve` to its end: for what it refuses to serve. At a port that nobody else has, so that this is no reason.
pub(crate) fn serve_in_vain(source: &Path, options: &[&OsStr]) -> Output {
    command()
        .arg("serve")
        .arg(source)
        .args(["--listen", &LOOPBACK.to_string()])
        .args(options)
        .output()
        .unwrap()
}

/// The same as [`linger`], in a folder.
pub(crate) fn linger_in(folder: &Path, arguments: &[&str]) -> Output {
    command().current_dir(folder).args(arguments).output().unwrap()
}

impl Server {
    /// Serves one component, with the defaults of everything.
    pub(crate) async fn start(name: &str) -> Self {
        Self::spawn(tempfile::tempdir().unwrap(), &component(name)).await
    }

    /// The same with options of the command line.
    pub(crate) async fn with_options(name: &str, options: &[&str]) -> Self {
        let mut command = command();
        command.arg("serve").args(options);
        Self::started(LOOPBACK, command, tempfile::tempdir().unwrap(), &component(name)).await
    }

    /// Serves what a configuration says. In it `{NAME}` stands for the file of a component.
    pub(crate) async fn with_config(text: &str) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), text).await
    }

    /// The same, at another address than the loopback.
    pub(crate) async fn listening_on(address: SocketAddr, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = write_config(folder.path(), text);
        Self::spawn_at(address, command(), folder, &file).await
    }

    /// Serves one component, and waits longer than a machine stands still for a sign that an answer was not read.
    pub(crate) async fn patient(component: &str) -> Self {
        Self::with_config(&format!("{PATIENT}[apps.app]\ncomponent = '{{{component}}}'\n")).await
    }

    /// The same over TLS.
    pub(crate) async fn with_tls(component: &str, certificate: &Certificate) -> Self {
        Self::listening_with(component, &tls(certificate)).await
    }

    /// The same, in clear or over TLS, for clients that close their direction and read on.
    pub(crate) async fn tolerant(component: &str, certificate: Option<&Certificate>) -> Self {
        let tls = certificate.map(tls).unwrap_or_default();
        Self::listening_with(component, &format!("eof = 'tolerant'\n{tls}")).await
    }

    async fn listening_with(component: &str, keys: &str) -> Self {
        Self::with_config(&format!(
            "{PATIENT}[[listeners]]\naddress = '127.0.0.1:0'\n{keys}[apps.app]\ncomponent = '{{{component}}}'\n"
        ))
        .await
    }

    /// The same, with every request in the log.
    pub(crate) async fn with_config_and_access_log(text: &str) -> Self {
        Self::with_config_and_log(text, "info,linger::access=debug").await
    }

    /// The same, with this in the log.
    pub(crate) async fn with_config_and_log(text: &str, log: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = write_config(folder.path(), text);
        let mut command = command();
        command.env("LINGER_LOG", log);
        Self::spawn_at(LOOPBACK, command, folder, &file).await
    }

    /// Serves what a configuration says that is in the folder.
    pub(crate) async fn of_folder(folder: TempDir, configuration: &Path) -> Self {
        Self::spawn(folder, configuration).await
    }

    /// The same, with a log for programs.
    pub(crate) async fn with_json_log(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = write_config(folder.path(), text);
        let mut command = command();
        command.env("LINGER_LOG", "info,linger::access=debug").env_remove("LINGER_LOG_FORMAT");
        Self::spawn_at(LOOPBACK, command, folder, &file).await
    }

    /// The same, with files beside the configuration.
    pub(crate) async fn in_folder(folder: TempDir, text: &str) -> Self {
        let file = write_config(folder.path(), text);
        Self::spawn(folder, &file).await
    }

    async fn spawn(folder: TempDir, source: &Path) -> Self {
        Self::spawn_at(LOOPBACK, command(), folder, source).await
    }

    async fn spawn_at(listen: SocketAddr, mut command: Command, folder: TempDir, source: &Path) -> Self {
        command.arg("serve");
        Self::started(listen, command, folder, source).await
    }

    async fn started(listen: SocketAddr, mut command: Command, folder: TempDir, source: &Path) -> Self {
        let mut child = command
            .arg(source)
            .args(["--listen", &listen.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = ServerLog::of(child.stdout.take().unwrap());
        let log = ServerLog::of(child.stderr.take().unwrap());
        // From here on it is killed whatever happens.
        let mut server = Self { child, address: ([0, 0, 0, 0], 0).into(), log, output, folder };
        let said = server.output.line(&["listening on"]).await;
        let (_, address) = said.split_once("://").expect(&said);
        server.address = address.parse().expect(&said);
        server
    }

    /// Where its configuration is, and what that names by a relative path.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for TLS, beside the listener in clear that its configuration names first.
    pub(crate) async fn encrypted_address(&self) -> SocketAddr {
        let said = self.output.line(&["listening on https://"]).await;
        said.split_once("://").and_then(|(_, address)| address.parse().ok()).expect(&said)
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn open(&self, protocol: Protocol, request: &Request) -> Open {
        match protocol {
            Protocol::Http1 => Open::One(Http1::open(self.address, request).await),
            Protocol::Http2 => Open::Two(Http2::connect(self.address).await.open(request).await),
        }
    }

    /// Sends a request on a connection of its own, and reads the answer.
    pub(crate) async fn send(&self, protocol: Protocol, request: &Request) -> Answer {
        self.open(protocol, request).await.answer().await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(Protocol::Http1, &Request::get(target)).await
    }

    /// Sends a request that waits in its guest, and returns when it should.
    pub(crate) async fn park(&self, protocol: Protocol, request: &Request) -> Open {
        let open = self.open(protocol, request).await;
        self.overtake().await;
        open
    }

    /// Sends requests that stay in their guests, by `open` with a number, until they have all of the `count`
    /// places that the configuration gives them. That is the only proof from outside that a request has
    /// reached its guest: `probe`, which should take no time, then is refused.
    pub(crate) async fn fill(
        &self,
        count: usize,
        probe: &str,
        mut open: impl AsyncFnMut(usize) -> Open,
    ) -> Vec<Open> {
        let mut requests = Vec::new();
        for number in 0..count {
            requests.push(open(number).await);
        }
        soon("the requests have all places", async {
            let mut full = false;
            while !full {
                full = matches!(self.get(probe).await.status.as_u16(), 429 | 503);
                for (number, request) in requests.iter_mut().enumerate() {
                    // Here a probe had the place that it came for.
                    if request.is_answered().await {
                        *request = open(number).await;
                        full = false;
                    }
                }
            }
        })
        .await;
        requests
    }

    /// Sends a request that stays in its guest, where there is one place only.
    pub(crate) async fn occupy(&self, protocol: Protocol, target: &str, probe: &str) -> Open {
        let request = Request::get(target);
        self.fill(1, probe, async |_| self.open(protocol, &request).await).await.remove(0)
    }

    /// Waits until requests that were sent before should have reached their guests: others, on new
    /// connections, have gone the whole way and back since. That is no proof (which is [`fill`](Self::fill)),
    /// so it is for tests that hold either way.
    pub(crate) async fn overtake(&self) {
        for _ in 0..2 {
            self.get("/poll/overtaker?wait=0").await;
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until it has exited.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        eventually("the server exits", async || self.child.try_wait().unwrap()).await
    }

    /// Fails if it is not running any more.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "the server has exited:\n{}", self.log.text());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(file).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// How many sockets it has open. A connection whose answers are not settled yet is one of them.
    pub(crate) fn sockets(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// How many files and sockets it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have exited.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- the server's log:\n{}", self.log.text());
        }
    }
}

/// Writes `linger.toml`, with the files of components in place of their names.
pub(crate) fn write_config(folder: &Path, text: &str) -> PathBuf {
    let mut text = text.to_owned();
    while let Some((before, rest)) = text.split_once("'{") {
        let (name, after) = rest.split_once("}'").unwrap();
        text = format!("{before}'{}'{after}", component(name).display());
    }
    let file = folder.join("linger.toml");
    std::fs::write(&file, text).unwrap();
    file
}
