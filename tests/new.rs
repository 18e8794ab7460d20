//! `linger new`: what it makes builds, passes its test, and is served.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{H1, Request, Server, assert_refused, linger_in, text};

/// Makes a project in a folder, with the binary alone.
fn make(folder: &Path, name: &str, template: &str) -> PathBuf {
    let output = linger_in(folder, &["new", name, "--template", template]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for step in [&*format!("cd {name}\n"), "cargo build", "linger serve linger.toml"] {
        assert!(text(&output.stdout).contains(step), "{}", text(&output.stdout));
    }
    folder.join(name)
}

/// A folder that is the same each time, so that Cargo does not take its projects for others, and keep what it built of all.
/// It is within our workspace: a project must not be taken for a part of that.
fn same_folder(name: &str) -> TempDir {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // Of a run that was killed, if there was one.
    drop(std::fs::remove_dir_all(parent.join(name)));
    tempfile::Builder::new().prefix(name).rand_bytes(0).tempdir_in(parent).unwrap()
}

/// Runs Cargo in a project, with one target directory for all of them: what they need is built once. The crates have been
/// downloaded for the guests.
fn cargo(project: &Path, target: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        // All, as they are in the lock file; and not beside every other test on all cores.
        .args(["--locked", "--offline", "--jobs", "1"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(project)
        .output()
        .unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[tokio::test]
async fn projects_build_and_pass_their_test_and_are_served() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new");
    for (template, name, request, status, answer) in [
        ("hello", "my-hello", Request::get("/?name=Ada"), 200, "Hello, Ada!\n"),
        ("longpoll", "my_longpoll", Request::get("/poll/jobs?wait=0"), 204, ""),
        (
            "sse",
            "sse",
            Request::get("/events"),
            404,
            "there is GET /, GET /events/{topic} and POST /publish/{topic}\n",
        ),
    ] {
        let folder = same_folder(&format!("new-{template}"));
        let project = make(folder.path(), name, template);
        cargo(&project, &target, &["build", "--release", "--target", "wasm32-wasip2"]);
        let tests = cargo(&project, &target, &["test"]);
        assert!(tests.contains("test result: ok. 1 passed"), "{tests}");
        // Where the project's own target directory would have it.
        let component =
            Path::new("wasm32-wasip2/release").join(name.replace('-', "_")).with_extension("wasm");
        let place = project.join("target").join(&component);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(target.join(&component), place).unwrap();
        let server = Server::of_folder(folder, &project.join("linger.toml")).await;
        assert_eq!(server.send(H1, &request).await.expect(status), answer, "{template}");
    }
}

#[test]
fn project_in_the_place_of_something_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let new = |name| linger_in(folder.path(), &["new", name]);
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    assert!(new("empty").status.success());
    // It is not empty any more.
    assert_refused(&new("empty"), &["empty", "not empty", "another name"]);
    std::fs::write(folder.path().join("file"), "mine").unwrap();
    assert_refused(&new("file"), &["file", "another name"]);
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"mine");
}

#[test]
fn name_that_no_crate_can_have_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, reason) in
        [("a/b", "not a valid project name"), ("fn", "in Rust"), ("linger-guest", "depends on")]
    {
        assert_refused(&linger_in(folder.path(), &["new", name]), &[name, reason]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn template_that_a_language_lacks_is_refused_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = linger_in(folder.path(), &["new", "x", "--lang", "python", "--template", "sse"]);
    assert_refused(&output, &["sse", "--template longpoll", "--lang rust"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn unknown_template_is_refused_with_those_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let output = linger_in(folder.path(), &["new", "x", "--template", "none"]);
    assert_eq!(output.status.code(), Some(2));
    for part in ["none", "hello", "longpoll", "sse"] {
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
}
