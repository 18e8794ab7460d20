//! Watched files: what is written to them is deployed, and half of it never is.

use std::io::Write as _;

use tempfile::TempDir;

use crate::harness::{ADMIN, KeptConnection, Protocol, Request, Server, component, eventually, put};

async fn greets(server: &Server, greeting: &str) {
    greets_at(server, "/", greeting).await;
}

async fn greets_at(server: &Server, target: &str, greeting: &str) {
    eventually(greeting, async || (server.get(target).await.expect(200) == greeting).then_some(())).await;
}

/// Serves a file of a folder, and watches it.
async fn watching_in(folder: TempDir, file: &str) -> Server {
    let server =
        Server::in_folder(folder, &format!("{ADMIN}[apps.app]\ncomponent = '{file}'\nwatch = true\n")).await;
    greets(&server, "Hello, world!\n").await;
    server
}

/// Serves `app.wasm`, and watches it.
async fn watching() -> Server {
    let folder = tempfile::tempdir().unwrap();
    put(&folder.path().join("app.wasm"), "hello");
    watching_in(folder, "app.wasm").await
}

#[tokio::test]
async fn what_is_written_to_a_watched_file_is_deployed() {
    let server = watching().await;
    let file = server.folder().join("app.wasm");
    put(&file, "plain-p3");
    greets(&server, "plain-p3\n").await;
    // In place, as compilers write, and in two parts: the first is no component.
    let whole = std::fs::read(component("plain-p2")).unwrap();
    let (start, end) = whole.split_at(whole.len() / 2);
    std::fs::write(&file, start).unwrap();
    server.log.line(&["generation 3 is refused", "app.wasm"]).await;
    greets(&server, "plain-p3\n").await;
    std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(end).unwrap();
    greets(&server, "plain-p2\n").await;
    // One that is gone serves on.
    std::fs::remove_file(&file).unwrap();
    put(&file, "hello");
    greets(&server, "Hello, world!\n").await;
}

#[tokio::test]
async fn apps_without_a_component_have_it_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let components = folder.path().join("components");
    std::fs::create_dir(&components).unwrap();
    put(&components.join("one.wasm"), "hello");
    put(&components.join("two.wasm"), "hello");
    let config = format!(
        "{ADMIN}components = 'components'\n[apps.one]\n[apps.two]\n[apps.three]\ncomponent = '{{plain-p2}}'\n\
         [[routes]]\napp = 'one'\n[[routes]]\napp = 'two'\npath = '/two'\n[[routes]]\napp = 'three'\npath = '/three'\n"
    );
    // Keys of the whole come before tables.
    let config = config.replace(ADMIN, "") + ADMIN;
    let server = Server::in_folder(folder, &config).await;
    put(&components.join("two.wasm"), "plain-p3");
    eventually("the new one serves", async || {
        (server.get("/two").await.expect(200) == "plain-p3\n").then_some(())
    })
    .await;
    assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
    assert_eq!(server.get("/three").await.expect(200), "plain-p2\n");
}

#[tokio::test]
async fn link_that_leads_elsewhere_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    // As volumes of configuration in clusters are changed: a link to a folder is replaced.
    for (version, name) in [("v1", "hello"), ("v2", "plain-p3")] {
        std::fs::create_dir(folder.path().join(version)).unwrap();
        put(&folder.path().join(version).join("app.wasm"), name);
    }
    std::os::unix::fs::symlink("v1", folder.path().join("now")).unwrap();
    std::os::unix::fs::symlink("now/app.wasm", folder.path().join("app.wasm")).unwrap();
    let server = watching_in(folder, "app.wasm").await;
    std::os::unix::fs::symlink("v2", server.folder().join("next")).unwrap();
    std::fs::rename(server.folder().join("next"), server.folder().join("now")).unwrap();
    greets(&server, "plain-p3\n").await;
}

#[tokio::test]
async fn folder_that_goes_and_comes_is_watched_again() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    put(&home.join("app.wasm"), "hello");
    let server = watching_in(folder, "home/app.wasm").await;
    std::fs::remove_dir_all(&home).unwrap();
    assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
    std::fs::create_dir(&home).unwrap();
    put(&home.join("app.wasm"), "plain-p3");
    greets(&server, "plain-p3\n").await;
}

/// Whatever is read while it is written: no request fails, and what is there in the end serves.
#[tokio::test]
async fn file_that_is_replaced_while_it_is_read_does_no_harm() {
    let server = watching().await;
    let file = server.folder().join("app.wasm");
    let versions = ["plain-p3", "hello"].map(|name| std::fs::read(component(name)).unwrap());
    let mut client = KeptConnection::connect(Protocol::Http1, server.address()).await;
    for round in 0..200_usize {
        // In place: for a while it is the start of one, and then of the one and the rest of the other.
        let whole = &versions[round % 2];
        let mut open = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        open.write_all(&whole[..whole.len() / 3]).unwrap();
        client.ask(&Request::get("/")).await.expect(200);
        open.write_all(&whole[whole.len() / 3..]).unwrap();
        open.set_len(whole.len() as u64).unwrap();
    }
    put(&file, "plain-p2");
    eventually("the last one serves", async || {
        (client.ask(&Request::get("/")).await.expect(200) == "plain-p2\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_deployed_since_stays_until_the_file_is_written() {
    let server = watching().await;
    let file = server.folder().join("app.wasm");
    assert!(server.deploy("plain-p3").await.status.success());
    // The watcher begins anew with each configuration, and finds the file as it was.
    let config = std::fs::read_to_string(server.folder().join("linger.toml")).unwrap();
    std::fs::write(server.folder().join("linger.toml"), config + "drain_timeout = '1s'\n").unwrap();
    assert!(server.operate(&["reload"]).await.status.success());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    greets(&server, "plain-p3\n").await;
    put(&file, "plain-p2");
    greets(&server, "plain-p2\n").await;
}

#[tokio::test]
async fn what_was_refused_is_tried_again_with_another_configuration() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder.path().join("app.wasm"), "hello");
    let config = |probe: &str| {
        format!("{ADMIN}[apps.app]\ncomponent = 'app.wasm'\nwatch = true\nprobe = {{ path = '{probe}' }}\n")
    };
    let server = Server::in_folder(folder, &config("/panic")).await;
    put(&server.folder().join("app.wasm"), "faulty");
    server.log.line(&["generation 2 is refused", "/panic"]).await;
    std::fs::write(server.folder().join("linger.toml"), config("/ok")).unwrap();
    assert!(server.operate(&["reload"]).await.status.success());
    greets_at(&server, "/ok", "ok\n").await;
}

#[tokio::test]
async fn folder_need_not_be_watched() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder.path().join("app.wasm"), "hello");
    let server =
        Server::in_folder(folder, &format!("components = '.'\n{ADMIN}[apps.app]\nwatch = false\n")).await;
    put(&server.folder().join("app.wasm"), "plain-p3");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
}
