//! What packages bring beside the binary.

use std::path::Path;

use linger_config::{Config, ListenAddress, StoreKind};

const CONFIGURATION: &str = include_str!("../packaging/linger.toml");
const UNIT: &str = include_str!("../packaging/linger.service");

#[test]
fn configuration_of_the_package_serves_once_it_names_an_app() {
    let file = Path::new("/etc/linger/linger.toml");
    let empty = Config::parse(CONFIGURATION, file, |_| None).unwrap_err().to_string();
    assert!(empty.contains("no app is configured"), "{empty}");
    // The app that it has as a comment.
    let (before, app) = CONFIGURATION.split_once("# [apps.hello]").unwrap();
    let text = format!("{before}[apps.hello]{}", app.replace("\n# ", "\n"));
    let config = Config::parse(&text, file, |_| None).unwrap();
    assert_eq!(config.apps["hello"].component, Path::new("/var/lib/linger/components/hello.wasm"));
    assert_eq!(config.apps["hello"].watch, Some(true));
    assert_eq!(config.events.store, StoreKind::Disk);
    assert_eq!(config.admin.unwrap().listen, ListenAddress::Unix("/run/linger/admin.sock".into()));
}

#[test]
fn unit_lets_compiled_code_be_run_and_written_to_its_cache() {
    let settings: Vec<_> = UNIT.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(!settings.iter().any(|line| line.starts_with("MemoryDenyWriteExecute")), "nothing would start");
    for setting in [
        "ExecStart=/usr/bin/linger serve /etc/linger/linger.toml",
        "StateDirectory=linger",
        "CacheDirectory=linger",
        "RuntimeDirectory=linger",
    ] {
        assert!(settings.contains(&setting), "{setting}");
    }
}
