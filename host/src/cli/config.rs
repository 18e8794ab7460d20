//! `linger config`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use linger_config::{AppConfig, ListenAddress};
use linger_net::TlsTerminator;

use super::output::OutputArgs;

/// Check a configuration, or print all keys with their defaults
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    action: ConfigAction,
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    Check(ConfigCheckArgs),
    /// Print a linger.toml with every key, its default and its meaning
    Default,
    /// Print the JSON Schema of a linger.toml, for editors
    Schema,
    /// Print docs/configuration.md
    #[command(hide = true)]
    Docs,
}

/// Check a configuration, and print its listeners, apps and routes
///
/// Reads the file, its environment variables and its certificates, and checks that components and folders exist.
/// Does not load components: use `linger check` for that. Exits with 0 if nothing is wrong, and with 2 otherwise.
#[derive(Debug, Args)]
struct ConfigCheckArgs {
    /// The configuration file, such as linger.toml
    file: PathBuf,

    #[command(flatten)]
    output: OutputArgs,
}

impl ConfigArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let text = match self.action {
            ConfigAction::Check(ConfigCheckArgs { file, output }) => {
                let config = read(&file, "give the path of a linger.toml")?;
                look(&config).map_err(|error| error.context(file.display().to_string()))?;
                let text = || format!("{}: {}\n", file.display(), summary(&config));
                return Ok(output.print(&to_json(&config), text));
            }
            ConfigAction::Default => linger_config::template(),
            ConfigAction::Schema => linger_config::schema(),
            ConfigAction::Docs => linger_config::reference(),
        };
        // The reader has closed the pipe: it has seen enough.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a configuration. `remedy` ends the error if the file cannot be read.
pub(super) fn read(file: &Path, remedy: &str) -> anyhow::Result<linger_config::Config> {
    let text =
        std::fs::read_to_string(file).map_err(|error| anyhow!("{}: {error}; {remedy}", file.display()))?;
    Ok(linger_config::Config::parse(&text, file, |name| std::env::var(name).ok())?)
}

/// Checks that the files exist that it names.
fn look(config: &linger_config::Config) -> anyhow::Result<()> {
    for files in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        TlsTerminator::open(files.clone())?;
    }
    for (name, AppConfig { component, dirs, .. }) in &config.apps {
        if !component.is_file() {
            bail!(
                "apps.{name}: the file {} does not exist; build it, or correct `component`",
                component.display()
            );
        }
        if let Some(dir) = dirs.iter().find(|dir| !dir.host.is_dir()) {
            bail!(
                "apps.{name}: the folder {} does not exist; create it, or correct `dirs`",
                dir.host.display()
            );
        }
    }
    Ok(())
}

fn listeners(config: &linger_config::Config) -> Vec<String> {
    let name = |listener: &linger_config::ListenerConfig| match &listener.address {
        ListenAddress::Tcp(address) if listener.tls.is_some() => format!("https://{address}"),
        ListenAddress::Tcp(address) => format!("http://{address}"),
        address => address.to_string(),
    };
    config.listeners.iter().map(name).collect()
}

fn to_json(config: &linger_config::Config) -> Value {
    let apps: Vec<_> = config.apps.keys().collect();
    json!({ "listeners": listeners(config), "apps": apps, "routes": config.routes.len() })
}

fn summary(config: &linger_config::Config) -> String {
    let apps: Vec<&str> = config.apps.keys().map(String::as_str).collect();
    format!(
        "listeners: {}; apps: {}; routes: {}; all components exist; they were not loaded",
        listeners(config).join(", "),
        apps.join(", "),
        config.routes.len(),
    )
}
