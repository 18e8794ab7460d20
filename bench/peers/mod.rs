//! The servers that are compared, each a process of its own.

pub(crate) mod bare;
pub(crate) mod relay;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

use crate::process::{Process, Says};

const ADMIN: &str = "admin.listen = 'unix:admin.sock'";

/// More than any measure has, so that nobody is refused.
const LIMITS: &str = "{ max_connections = 20_000, max_connections_per_client = 20_000, max_requests = 20_000, max_requests_per_client = 20_000 }";

/// `linger serve` with one app, a component that `make guests` built, and with the defaults beside the limits.
pub(crate) fn linger(component: &str) -> anyhow::Result<Process> {
    Ok(configured(component, "queues.max_queues = 20_000")?.0)
}

/// The same, with these keys in its configuration.
pub(crate) fn linger_with(component: &str, keys: &str) -> anyhow::Result<Process> {
    Ok(configured(component, keys)?.0)
}

/// The same, with an admin listener at the socket that this gives.
pub(crate) fn deployable(component: &str) -> anyhow::Result<(Process, PathBuf)> {
    let (process, folder) = configured(component, ADMIN)?;
    Ok((process, folder.join("admin.sock")))
}

/// The same, with a line of JSON for each request in a file.
pub(crate) fn logging(component: &str) -> anyhow::Result<Process> {
    let (folder, mut command) = prepared(component, ADMIN)?;
    let log = File::create(folder.path().join("log"))?;
    command.env("LINGER_LOG", "info,linger::access=debug").env("LINGER_LOG_FORMAT", "json").stderr(log);
    Process::start(&mut command, Says::Stdout, Some(folder))
}

/// The same behind TLS, with a certificate of its own, which this gives.
pub(crate) fn encrypted(component: &str) -> anyhow::Result<(Process, CertificateDer<'static>)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let tls = "[[listeners]]\naddress = '127.0.0.1:0'\ntls = { certificate = 'cert.pem', key = 'key.pem' }\n";
    let (folder, mut command) = written(&format!("{tls}{}", app(component)?))?;
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem())?;
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem())?;
    let process = Process::start(command.env("LINGER_LOG", "error"), Says::Stdout, Some(folder))?;
    Ok((process, made.cert.der().clone()))
}

/// With one key more; and the folder of its configuration.
fn configured(component: &str, more: &str) -> anyhow::Result<(Process, PathBuf)> {
    let (folder, mut command) = prepared(component, more)?;
    let path = folder.path().to_owned();
    Ok((Process::start(command.env("LINGER_LOG", "error"), Says::Stdout, Some(folder))?, path))
}

fn prepared(component: &str, more: &str) -> anyhow::Result<(TempDir, Command)> {
    written(&format!("listen = '127.0.0.1:0'\nlimits = {LIMITS}\n{more}\n{}", app(component)?))
}

fn app(component: &str) -> anyhow::Result<String> {
    Ok(format!("[apps.bench]\ncomponent = '{}'\n", built(component)?.display()))
}

fn written(config: &str) -> anyhow::Result<(TempDir, Command)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("linger.toml");
    std::fs::write(&path, config)?;
    let mut command = Command::new(measured());
    command.arg("serve").arg(&path);
    Ok((folder, command))
}

/// The host that `MEASURED` names, or else the one that was built beside this.
fn measured() -> PathBuf {
    std::env::var_os("MEASURED").map_or_else(|| env!("CARGO_BIN_EXE_linger").into(), PathBuf::from)
}

/// Hyper, and nothing that is not needed to greet or to park.
pub(crate) fn bare() -> anyhow::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    Process::start(command.arg(bare::ARGUMENT), Says::Stdout, None)
}

/// Hyper and async-nats, and nothing that is not needed to relay events.
pub(crate) fn relay(nats: &str) -> anyhow::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    Process::start(command.args([relay::ARGUMENT, nats]), Says::Stdout, None)
}

/// The program on Go's `net/http` that the conformance suite has too. None, with a line, without Go.
pub(crate) fn go() -> anyhow::Result<Option<Process>> {
    if !installed("Go", "go", "version") {
        return Ok(None);
    }
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("go");
    let source = root().join("tests/peers/go/main.go");
    let built = Command::new("go").arg("build").arg("-o").arg(&program).arg(source).status()?;
    ensure!(built.success(), "the Go program does not build");
    Process::start(&mut Command::new(program), Says::Stdout, Some(folder)).map(Some)
}

/// `wasmtime serve` with a component that was built, and with its defaults beside these options. None, with a line,
/// without wasmtime.
pub(crate) fn wasmtime(component: &str, options: &[&str]) -> anyhow::Result<Option<Process>> {
    if !installed("wasmtime serve", "wasmtime", "--version") {
        return Ok(None);
    }
    let mut command = Command::new("wasmtime");
    command.args(["serve", "--addr", "127.0.0.1:0", "-Scli,p3", "-Wcomponent-model-async"]);
    command.args(options).arg(built(component)?).stdout(Stdio::null());
    Process::start(&mut command, Says::Stderr, None).map(Some)
}

/// Whether a program is there; says so if it is not.
pub(crate) fn installed(name: &str, program: &str, asked: &str) -> bool {
    let version = Command::new(program).arg(asked).stdin(Stdio::null()).output();
    let there = version.is_ok();
    if !there {
        println!("  skipped: {name} (there is no {program})");
    }
    there
}

pub(crate) fn built(component: &str) -> anyhow::Result<PathBuf> {
    root().join("target/components").join(component).canonicalize().context("run `make guests`")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
