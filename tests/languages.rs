//! The examples in other languages than Rust, as far as they are not those that stand for `longpoll` in other tests. With the
//! tools that `make guests-other` has installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{H1, Request, Server, linger_in, text};

#[tokio::test]
#[ignore = "`make test-languages` builds and runs it"]
async fn hello_of_quickjs_greets_by_name() {
    let server = Server::start("js-hello").await;
    for _ in 0..3 {
        assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
        assert_eq!(server.get("/?name=Ad%C3%A4+L").await.expect(200), "Hello, Adä L!\n");
    }
}

#[tokio::test]
#[ignore = "`make test-languages` has the tools"]
async fn project_in_python_builds_and_passes_its_test_and_is_served() {
    let project = Project::new(&["--lang", "python"], "python-longpoll", ".venv");
    project.run("python3", &["-m", "unittest"]);
    project.run("python3", &["build.py"]);
    project.serves_long_polls().await;
}

#[tokio::test]
#[ignore = "`make test-languages` has the tools"]
async fn project_in_javascript_builds_and_passes_its_test_and_is_served() {
    let project = Project::new(&["--lang", "js"], "js-longpoll", "node_modules");
    project.run("npm", &["test"]);
    project.run("npm", &["run", "build"]);
    project.serves_long_polls().await;
}

#[tokio::test]
#[ignore = "`make test-languages` has the tools"]
async fn project_on_quickjs_builds_and_is_served() {
    let project = Project::new(&["--lang", "js", "--template", "hello"], "js-hello", "node_modules");
    project.run("npm", &["run", "build"]);
    let server = project.serve().await;
    assert_eq!(server.get("/?name=you").await.expect(200), "Hello, you!\n");
}

/// A project that the binary made.
struct Project {
    parent: tempfile::TempDir,
    folder: PathBuf,
}

impl Project {
    /// Makes one. Its tools are those of an example, which has the same pins: nothing is downloaded anew.
    fn new(options: &[&str], example: &str, tools: &str) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let output = linger_in(parent.path(), &[&["new", "mine"], options].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let folder = parent.path().join("mine");
        let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../languages").join(example).join(tools);
        std::os::unix::fs::symlink(installed.canonicalize().unwrap(), folder.join(tools)).unwrap();
        Self { parent, folder }
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).current_dir(&self.folder).output().unwrap();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
    }

    async fn serve(self) -> Server {
        Server::of_folder(self.parent, &self.folder.join("linger.toml")).await
    }

    async fn serves_long_polls(self) {
        let server = self.serve().await;
        server.send(H1, &Request::post("/push/jobs", "hello")).await.expect(202);
        assert_eq!(server.get("/poll/jobs?wait=30").await.expect(200), "hello");
    }
}
