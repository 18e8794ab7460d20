//! `linger config`: what it says of a configuration, and of configurations.

use std::path::Path;
use std::process::Output;

use crate::cli::file;
use crate::harness::{assert_refused, command, linger, serve_in_vain, text, write_config};

fn check(file: &Path) -> Output {
    linger(&["config".as_ref(), "check".as_ref(), file.as_os_str()])
}

fn printed(what: &str) -> String {
    let output = linger(&["config", what]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).to_owned()
}

#[test]
fn good_configuration_is_summed_up_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(
        folder.path(),
        "[[listeners]]\naddress = '127.0.0.1:80'\n[[listeners]]\naddress = '[::1]:81'\n\
         [apps.a]\ncomponent = '{hello}'\n[apps.b]\ncomponent = '{longpoll}'\n\
         [[routes]]\napp = 'a'\n[[routes]]\napp = 'b'\npath = '/b'\n",
    );
    let output = check(&config);
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in [
        config.to_str().unwrap(),
        "listeners: http://127.0.0.1:80, http://[::1]:81",
        "apps: a, b",
        "routes: 2",
        "not loaded",
    ] {
        assert!(said.contains(part), "{said:?} does not say {part:?}");
    }
}

#[test]
fn unknown_key_is_refused_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path(), "[limits]\nmax_conections = 1\n");
    let place = format!("{}:2:1: ", config.display());
    assert_refused(&check(&config), &[&place, "`max_conections`; did you mean `max_connections`?"]);
}

#[test]
fn secret_in_an_address_of_nats_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (servers, part) in [
        ("['nats://linger:hidden@127.0.0.1:4222']", "`user` and `password`"),
        ("['nats://127.0.0.1:4222', 'nats://hidden@127.0.0.1']", "`token`"),
        ("'nats://linger:hidden@127.0.0.1:4222'", "expected a sequence"),
    ] {
        let events = format!(
            "[events]\nstore = 'nats'\nnats.servers = {servers}\n[apps.a]\ncomponent = '{{hello}}'\n"
        );
        let config = write_config(folder.path(), &events);
        for output in [check(&config), serve_in_vain(&config, &[])] {
            assert_refused(&output, &[config.to_str().unwrap(), part]);
            assert!(!text(&output.stderr).contains("hidden"), "{output:?}");
        }
    }
}

#[test]
fn file_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.toml");
    assert_refused(
        &check(&none),
        &[none.to_str().unwrap(), "No such file", "give the path of a linger.toml"],
    );
    let config = write_config(folder.path(), "[apps.a]\ncomponent = 'a.wasm'\n");
    let component = folder.path().join("a.wasm");
    let place = config.to_str().unwrap();
    assert_refused(&check(&config), &[place, "apps.a: the file", component.to_str().unwrap()]);
    file(&folder, "a.wasm", "");
    assert!(check(&config).status.success());
    let config = write_config(
        folder.path(),
        "[apps.a]\ncomponent = 'a.wasm'\ndirs = [{ host = 'data', guest = '/data' }]\n",
    );
    assert_refused(&check(&config), &[place, "apps.a: the folder", "data", "correct `dirs`"]);
    let config = write_config(
        folder.path(),
        "[[listeners]]\naddress = '127.0.0.1:0'\ntls = { certificate = 'c.pem', key = 'k.pem' }\n\
         [apps.a]\ncomponent = 'a.wasm'\n",
    );
    assert_refused(&check(&config), &[place, "c.pem"]);
}

#[test]
fn variable_comes_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(
        folder.path(),
        "[admin]\nlisten = '127.0.0.1:0'\ntoken = '${LINGER_TEST_TOKEN}'\n[apps.a]\ncomponent = '{hello}'\n",
    );
    let place = format!("{}:3:9: ", config.display());
    assert_refused(&check(&config), &[&place, "`LINGER_TEST_TOKEN` is not set", "set it"]);
    let with = |token: &str| {
        command().args(["config", "check"]).arg(&config).env("LINGER_TEST_TOKEN", token).output().unwrap()
    };
    assert!(with("0123456789abcdef").status.success());
    assert_refused(&with("short"), &["admin: `token` must have at least 16"]);
}

#[test]
fn default_is_a_configuration_once_it_has_an_app() {
    let folder = tempfile::tempdir().unwrap();
    let default = printed("default");
    let config = write_config(folder.path(), &default);
    assert_refused(&check(&config), &["no app is configured; add `[apps.NAME]`"]);
    let config = write_config(folder.path(), &format!("{default}\n[apps.a]\ncomponent = '{{hello}}'\n"));
    let output = check(&config);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("listeners: http://127.0.0.1:8080; apps: a; routes: 1"));
}

#[test]
fn schema_is_json() {
    let schema: serde_json::Value = serde_json::from_str(&printed("schema")).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(schema["properties"]["apps"]["additionalProperties"]["type"], "object");
}
