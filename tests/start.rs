//! What keeps a server from starting, and in which order that is said.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Output;

use crate::cli::file;
use crate::harness::{
    H1, Request, Server, assert_refused, component, linger, serve_in_vain, text, write_config,
};

fn serve(source: &Path) -> Output {
    serve_in_vain(source, &[])
}

fn serve_at(address: &str, source: &Path) -> Output {
    linger(&["serve".as_ref(), source.as_os_str(), "--listen".as_ref(), address.as_ref()])
}

#[test]
fn port_in_use_is_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let hello = component("hello");
    let output = serve_at(&address, &hello);
    assert_refused(&output, &[&address, "in use", "--listen"]);
}

#[test]
fn what_is_wrong_with_files_is_said_before_a_port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("diary")).unwrap();
    file(&folder, "diary/monday", "dear");
    file(&folder, "text.wasm", "no component");
    let app = "[apps.app]\ncomponent = '{hello}'\n";
    let listener = "[[listeners]]\naddress = '127.0.0.1:0'\n";
    let tls = "tls = { certificate = 'none.pem', key = 'none.pem' }\n";
    for (config, says) in [
        ("[apps.app]\ncomponent = 'none.wasm'\n".to_owned(), "none.wasm"),
        ("[apps.app]\ncomponent = 'text.wasm'\n".to_owned(), "not a WebAssembly component"),
        (format!("{app}middleware = ['{{hello}}']\n"), "not a middleware for"),
        (format!("{app}[events]\nstore = 'disk'\ndirectory = 'diary'\n"), "is not a store of Linger"),
        (
            format!("{app}[events]\nstore = 'nats'\nnats.servers = ['nats://127.0.0.1:1']\n"),
            "events.nats.servers",
        ),
        (format!("{app}[traces]\nendpoint = 'https://127.0.0.1:1'\nca = 'none.pem'\n"), "none.pem"),
        // Not even of the listener whose port is in use.
        (format!("{listener}{listener}{tls}{app}"), "none.pem"),
    ] {
        let output = serve_at(&address, &write_config(folder.path(), &config));
        assert_refused(&output, &[says]);
        assert!(!text(&output.stderr).contains("in use"), "{output:?}");
    }
    // An admin listener is no different.
    let admin = format!("[admin]\nlisten = '{address}'\n");
    let missing = format!("{admin}[apps.app]\ncomponent = 'none.wasm'\n");
    assert_refused(&serve(&write_config(folder.path(), &missing)), &["none.wasm"]);
    let output = serve(&write_config(folder.path(), &format!("{admin}{app}")));
    assert_refused(&output, &[&address, "in use", "admin.listen"]);
}

#[tokio::test]
async fn second_host_of_a_store_is_refused_for_that() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let server = Server::with_options("longpoll", &["--store", store.to_str().unwrap()]).await;
    server.send(H1, &Request::post("/push/q", "event")).await.expect(202);
    let address = server.address().to_string();
    let arguments: [&OsStr; 6] = [
        "serve".as_ref(),
        &component("longpoll").into_os_string(),
        "--listen".as_ref(),
        address.as_ref(),
        "--store".as_ref(),
        store.as_ref(),
    ];
    let output = linger(&arguments);
    assert_refused(&output, &[store.to_str().unwrap()]);
    assert!(!text(&output.stderr).contains("cannot listen"), "{output:?}");
    assert_eq!(server.get("/poll/q?wait=5").await.expect(200), "event");
}

#[test]
fn bad_address_is_refused() {
    let hello = component("hello");
    let output = serve_at("nowhere", &hello);
    let said = text(&output.stderr);
    assert!(said.contains("nowhere") && said.contains("--listen"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}
