//! Real NATS servers, each with a directory of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A running `nats-server`. Dropped, it is killed.
pub struct Nats {
    child: Option<Child>,
    folder: TempDir,
    store: PathBuf,
    port: u16,
    options: Vec<String>,
}

/// Where it may be beside the folders of `PATH`.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    folders.map(|folder| folder.join("nats-server")).find(|file| file.is_file())
}

impl Nats {
    /// Whether there is such a program here. If not, says so.
    pub fn is_there() -> bool {
        let is_there = program().is_some();
        if !is_there {
            eprintln!("skipped: there is no nats-server here");
        }
        is_there
    }

    /// Starts one, if there is such a program here.
    pub fn start() -> Option<Self> {
        Self::with_options(&[])
    }

    /// The same, with options of its command line or `--config FILE`.
    pub fn with_options(options: &[&str]) -> Option<Self> {
        if !Self::is_there() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        Some(Self::run_first(folder, store, options))
    }

    /// Starts one whose store is in this folder.
    pub fn storing_in(store: &Path) -> Option<Self> {
        Self::is_there().then(|| Self::run_first(tempfile::tempdir().unwrap(), store.to_owned(), &[]))
    }

    fn run_first(folder: TempDir, store: PathBuf, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { child: None, folder, store, port: 0, options };
        server.run("-1");
        server
    }

    /// Starts it again, at the same port and with what it had kept.
    pub fn restart(&mut self) {
        self.run(&self.port.to_string());
    }

    fn run(&mut self, port: &str) {
        let ports = self.folder.path().join("ports");
        // What the one before wrote is not of this one.
        drop(std::fs::remove_dir_all(&ports));
        std::fs::create_dir(&ports).unwrap();
        let child = Command::new(program().unwrap())
            .args(["--addr", "127.0.0.1", "--port", port, "--jetstream", "--store_dir"])
            .arg(&self.store)
            .arg("--ports_file_dir")
            .arg(&ports)
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.log_file()).unwrap())
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.port = self.wait_for_port(&ports);
    }

    fn wait_for_port(&self, folder: &Path) -> u16 {
        for _ in 0..6000 {
            let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
            let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
            let ports = texts.filter_map(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
            for ports in ports {
                let url = ports["nats"][0].as_str().unwrap_or_default().to_owned();
                if let Some(port) = url.rsplit(':').next().and_then(|port| port.parse().ok()) {
                    return port;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("nats-server does not start:\n{}", std::fs::read_to_string(self.log_file()).unwrap());
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    #[allow(dead_code, reason = "only the benchmark looks at the process")]
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Where clients reach it.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have exited.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Lets it stand still, as if it were cut off, or go on.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }
}

/// Three servers that are one cluster.
pub struct Cluster(pub Vec<Nats>);

impl Cluster {
    const SIZE: usize = 3;

    pub fn start() -> Option<Self> {
        if !Nats::is_there() {
            return None;
        }
        // They are free until the servers have them.
        let sockets: Vec<_> = (0..Self::SIZE).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let routes: Vec<_> =
            sockets.iter().map(|socket| format!("nats://{}", socket.local_addr().unwrap())).collect();
        drop(sockets);
        let servers = routes.iter().enumerate().map(|(number, route)| {
            let name = format!("s{number}");
            let options = [
                "--server_name",
                &name,
                "--cluster_name",
                "c",
                "--cluster",
                route,
                "--routes",
                &routes.join(","),
            ];
            Nats::with_options(&options).unwrap()
        });
        Some(Self(servers.collect()))
    }

    /// What hosts are given as `servers`.
    pub fn urls(&self) -> String {
        self.0.iter().map(|server| format!("'{}'", server.url())).collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}
