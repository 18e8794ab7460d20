//! The command line: what it says of what it was given, and what of that it can serve.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::SystemTime;

use tempfile::TempDir;

use crate::harness::{
    H1, H2, Request, Server, assert_refused, component, linger, serve_in_vain, text, write_config,
};

/// A component that imports what no host has, and exports a handler all the same.
pub(crate) const MISSING_IMPORT: &str = r#"(component
    (import "acme:thing/api@1.2.3" (instance (export "do" (func))))
    (component $handler)
    (instance $handler (instantiate $handler))
    (export "wasi:http/handler@0.3.0" (instance $handler)))"#;

pub(crate) fn file(folder: &TempDir, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let file = folder.path().join(name);
    std::fs::write(&file, contents).unwrap();
    file
}

pub(crate) fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn serve(source: &Path) -> Output {
    serve_in_vain(source, &[])
}

#[test]
fn missing_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["none.wasm", "none.toml"] {
        let path = folder.path().join(name);
        assert_refused(
            &serve(&path),
            &[path.to_str().unwrap(), "No such file", "give the path of a component"],
        );
    }
    assert_refused(&serve(folder.path()), &[folder.path().to_str().unwrap(), "directory"]);
}

#[test]
fn file_that_is_no_component_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let remedy = "build one with `cargo build --target wasm32-wasip2`";
    for (name, contents) in
        [("text.wasm", &b"hello, world"[..]), ("empty.wasm", b""), ("short.wasm", b"\0as")]
    {
        let path = file(&folder, name, contents);
        assert_refused(&serve(&path), &[path.to_str().unwrap(), "not a WebAssembly component", remedy]);
    }
}

#[test]
fn core_module_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "core.wasm", wat("(module)"));
    assert_refused(&serve(&path), &[path.to_str().unwrap(), "core module", "wasm-tools component new"]);
}

#[test]
fn damaged_component_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(component("hello")).unwrap();
    let path = file(&folder, "cut.wasm", &whole[..whole.len() / 2]);
    assert_refused(&serve(&path), &[path.to_str().unwrap(), "does not compile", "wasm-tools validate"]);
}

#[test]
fn missing_import_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "import.wasm", wat(MISSING_IMPORT));
    assert_refused(&serve(&path), &[path.to_str().unwrap(), "acme:thing/api@1.2.3", "linger check"]);
}

#[test]
fn component_without_a_handler_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "none.wasm", wat("(component)"));
    let parts =
        [path.to_str().unwrap(), "wasi:http/handler@0.3", "wasi:http/incoming-handler@0.2", "linger wit"];
    assert_refused(&serve(&path), &parts);
}

#[test]
fn bad_configuration_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let app = "[apps.a]\ncomponent = '{hello}'\n";
    for (config, place, parts) in [
        ("lisen = 'x'\n".to_owned(), ":1:1: ", &["lisen", "listen"][..]),
        ("[limits]\nmax_connections = 'x'\n".to_owned(), ":2:19: ", &["expected"]),
        ("[limits]\nmax_connection = 1\n".to_owned(), ":2:1: ", &["max_connection", "max_connections"]),
        ("shutdown_timeout = '10'\n".to_owned(), ":1:20: ", &["10", "unit"]),
        ("[queues]\nmax_bytes = 'big'\n".to_owned(), ":2:13: ", &["big"]),
        ("[apps.a\n".to_owned(), ":1:8: ", &[]),
        (String::new(), ": ", &["no app is configured", "[apps.NAME]"]),
        (format!("{app}[[routes]]\napp = 'b'\n"), ": ", &["routes[0]", "unknown app `b`", "[apps.b]"]),
        (format!("{app}[[routes]]\napp = 'a'\npath = 'x'\n"), ": ", &["routes[0]", "`x`", "`/`"]),
        (format!("{app}[apps.b]\ncomponent = '{{hello}}'\n"), ": ", &["several apps", "[[routes]]"]),
        (format!("{app}instances.max = 0\n"), ": ", &["apps.a", "max"]),
        (format!("{app}outgoing_hosts = ['http://x']\n"), ": ", &["apps.a", "http://x", "NAME:PORT"]),
    ] {
        let path = write_config(folder.path(), &config);
        let output = serve(&path);
        let place = format!("{}{place}", path.display());
        let mut parts = parts.to_vec();
        parts.push(&place);
        assert_refused(&output, &parts);
    }
}

#[test]
fn configuration_that_names_a_missing_component_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), "[apps.a]\ncomponent = 'none.wasm'\n");
    let component = folder.path().join("none.wasm");
    assert_refused(&serve(&path), &[component.to_str().unwrap(), "No such file"]);
}

#[test]
fn configuration_that_grants_a_missing_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[apps.a]\ncomponent = '{hello}'\ndirs = [{ host = 'none', guest = '/x' }]\n";
    let path = write_config(folder.path(), config);
    let output = serve(&path);
    assert_refused(&output, &[folder.path().join("none").to_str().unwrap(), "No such file"]);
    assert!(!text(&output.stderr).contains("path of a component"), "the remedy is for something else");
}

#[test]
fn check_tells_what_a_component_is() {
    for (name, world, import) in [
        ("longpoll", "linger:host/handler (WASI 0.3)", "linger:host/queue@0.1.0"),
        ("longpoll-p2", "linger:host/handler-p2 (WASI 0.2)", "linger:host/queue-p2@0.1.0"),
        ("plain-p3", "linger:host/handler (WASI 0.3)", "wasi:http/types@0.3."),
        ("plain-p2", "linger:host/handler-p2 (WASI 0.2)", "wasi:http/types@0.2."),
    ] {
        let output = linger(&["check".as_ref(), component(name).as_os_str()]);
        let said = text(&output.stdout);
        assert!(output.status.success(), "{name}: {said}");
        assert!(said.contains(&format!("world:   {world}\n")), "{name}: {said}");
        assert!(said.contains(&format!("\n  {import}")), "{name}: {said}");
        assert!(said.contains("missing: none"), "{name}: {said}");
        assert!(!name.starts_with("plain") || !said.contains("linger:host/queue"), "{name}: {said}");
        assert_eq!(text(&output.stderr), "", "{name}");
    }
}

#[test]
fn check_tells_what_this_host_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "import.wasm", wat(MISSING_IMPORT));
    let output = linger(&["check".as_ref(), path.as_os_str()]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let (_, lacks) = said.split_once("missing:").expect(said);
    assert!(lacks.contains("acme:thing/api@1.2.3"), "{said}");
}

#[test]
fn check_refuses_what_is_no_handler() {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents, expected) in [
        ("core.wasm", wat("(module)"), "core module"),
        ("text.wasm", b"hello, world".to_vec(), "not a WebAssembly component"),
        ("none.wasm", wat("(component)"), "exports no"),
    ] {
        let path = file(&folder, name, contents);
        let output = linger(&["check".as_ref(), path.as_os_str()]);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {said}");
    }
    let missing = linger(&["check".as_ref(), folder.path().join("none").as_os_str()]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("No such file"), "{}", text(&missing.stderr));
}

#[test]
fn wit_prints_a_whole_package() {
    let output = linger(&["wit"]);
    assert!(output.status.success());
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("linger.wit", text(&output.stdout)).expect("valid WIT");
    let package = &resolve.packages[package];
    assert_eq!(package.name.to_string(), "linger:host@0.1.0");
    for interface in ["types", "cancellation", "cancellation-p2", "queue", "queue-p2"] {
        assert!(package.interfaces.contains_key(interface), "{interface}");
    }
    for (world, handler) in
        [("handler", "wasi:http/handler@0.3.0"), ("handler-p2", "wasi:http/incoming-handler@0.2.12")]
    {
        let world = &resolve.worlds[package.worlds[world]];
        let exports: Vec<_> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
        assert!(exports.iter().any(|export| export == handler), "{exports:?}");
        assert!(world.docs.contents.is_some(), "{} has no documentation", world.name);
    }
}

#[test]
fn help_names_the_commands() {
    let output = linger(&["--help"]);
    assert!(output.status.success());
    for command in ["serve", "check", "wit"] {
        assert!(text(&output.stdout).contains(command), "{}", text(&output.stdout));
    }
    let output = linger(&["serve", "--help"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("--listen"), "{}", text(&output.stdout));
    assert!(linger(&["--version"]).status.success());
    // Without a command, or with another one: the same exit code as for any other mistake.
    assert_eq!(linger(&[""; 0]).status.code(), Some(2));
    assert_eq!(linger(&["serv"]).status.code(), Some(2));
}

#[test]
fn help_documents_exit_codes_and_has_examples() {
    let output = linger(&["--help"]);
    for part in ["Exit codes:", "\n  130  ", "LINGER_LOG", "linger serve linger.toml"] {
        assert!(text(&output.stdout).contains(part), "{}", text(&output.stdout));
    }
    for command in ["new", "serve", "deploy", "reload", "conformance", "push", "take", "queues"] {
        let output = linger(&[command, "--help"]);
        let example =
            format!("Examples:\n  {}linger {command}", if command == "push" { "echo hello | " } else { "" });
        assert!(text(&output.stdout).contains(&example), "{}", text(&output.stdout));
    }
}

#[test]
fn completions_are_those_of_the_shell() {
    for (shell, part) in
        [("bash", "complete -F _linger"), ("zsh", "#compdef linger"), ("fish", "complete -c linger")]
    {
        let output = linger(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        assert!(text(&output.stdout).contains(part), "{shell}: {}", text(&output.stdout));
    }
    assert_eq!(linger(&["completions", "none"]).status.code(), Some(2));
}

#[test]
fn man_writes_a_page_for_each_command() {
    let printed = linger(&["man"]);
    assert!(text(&printed.stdout).contains(".TH linger 1"), "{}", text(&printed.stdout));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    assert!(linger(&["man".as_ref(), pages.as_os_str()]).status.success());
    for page in ["linger.1", "linger-serve.1", "linger-store-check.1"] {
        assert!(pages.join(page).exists(), "{page}");
    }
    let file = file(&folder, "file", "");
    let refused = linger(&["man".as_ref(), file.as_os_str()]);
    assert_refused(&refused, &[file.to_str().unwrap(), "another folder"]);
}

#[tokio::test]
async fn unmodified_components_are_served() {
    for name in ["plain-p2", "plain-p3"] {
        let server = Server::start(name).await;
        for protocol in [H1, H2] {
            let answer = server.send(protocol, &Request::get("/any/path")).await;
            assert_eq!(answer.expect(200), format!("{name}\n"));
            assert_eq!(answer.header("content-type"), Some("text/plain"));
        }
    }
}

#[tokio::test]
async fn routes_choose_the_app_by_host_path_and_method() {
    let server = Server::with_config(
        "[apps.two]\ncomponent = '{plain-p2}'\n[apps.three]\ncomponent = '{plain-p3}'\n\
         [apps.hello]\ncomponent = '{hello}'\n\
         [[routes]]\napp = 'two'\npath = '/two'\n\
         [[routes]]\napp = 'three'\nhost = 'three.example'\n\
         [[routes]]\napp = 'hello'\npath = '/two/hello'\nmethods = ['GET', 'HEAD']\n\
         [[routes]]\napp = 'three'\npath = '/only-post'\nmethods = ['POST']\n",
    )
    .await;
    for protocol in [H1, H2] {
        let expect = async |request: Request, status: u16, body: &str| {
            let answer = server.send(protocol, &request).await;
            assert_eq!(answer.expect(status), body, "{request:?}");
        };
        expect(Request::get("/two"), 200, "plain-p2\n").await;
        expect(Request::get("/two/x?y=z"), 200, "plain-p2\n").await;
        expect(Request::get("/two/hello"), 200, "Hello, world!\n").await;
        // The longer path is for other methods only.
        expect(Request::post("/two/hello", ""), 200, "plain-p2\n").await;
        expect(Request::get("/anything").host("three.example:81"), 200, "plain-p3\n").await;
        expect(Request::get("/two").host("THREE.example"), 200, "plain-p3\n").await;
        expect(Request::post("/only-post", ""), 200, "plain-p3\n").await;
        let answer = server.send(protocol, &Request::get("/only-post")).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some("POST")));
        for nothing in ["/", "/twofold", "/only-post-more"] {
            assert_eq!(server.send(protocol, &Request::get(nothing)).await.status, 404, "{nothing}");
        }
    }
}

#[tokio::test]
async fn listen_on_port_0_takes_a_free_one() {
    let servers = [Server::start("hello").await, Server::start("hello").await];
    assert_ne!(servers[0].address(), servers[1].address());
    for server in &servers {
        assert_ne!(server.address().port(), 0);
        server.get("/").await.expect(200);
    }
}

#[tokio::test]
async fn second_start_compiles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let code = folder.path().join("code");
    let text = format!("code_cache = '{}'\n[apps.app]\ncomponent = '{{hello}}'\n", code.display());
    drop(Server::with_config(&text).await);
    let kept = compiled(&code);
    assert!(!kept.is_empty(), "nothing was kept");
    let second = Server::with_config(&text).await;
    second.get("/").await.expect(200);
    assert_eq!(compiled(&code), kept, "something was compiled");
}

#[tokio::test]
async fn code_that_others_could_change_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let text = format!("code_cache = '{}'\n[apps.app]\ncomponent = '{{hello}}'\n", folder.path().display());
    let server = Server::with_config(&text).await;
    server.log.line(&["cannot cache compiled code", "other users can write", "chmod go-w"]).await;
    server.get("/").await.expect(200);
    assert_eq!(compiled(folder.path()), []);
}

/// What is in a cache, and since when; but not what it notes about the use of it.
fn compiled(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(compiled(&path));
        } else if path.extension().is_none() {
            let changed = path.metadata().unwrap().modified().unwrap();
            found.push((path, changed));
        }
    }
    found.sort();
    found
}
