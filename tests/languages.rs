//! The examples in other languages than Rust, as far as they are not those that stand for `longpoll` in other tests. With the
//! tools that `make guests-other` has installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{H1, Http1, Request, Server, component, linger_in, text};
use crate::swap::swap;

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
#[ignore = "`make test-languages` builds one of them"]
async fn rust_and_python_take_turns_under_load() {
    swap(4, 50, [component("longpoll"), component("python-longpoll")]).await;
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
async fn instance_of_python_for_wasi_0_2_is_used_again() {
    let project = Project::new(&["--lang", "python"], "python-longpoll", ".venv");
    project.write("app.py", COUNTS_IN_PYTHON);
    project.run("python3", &["build.py", "--wasi", "0.2"]);
    project.is_of(&json!("Python (componentize-py)"), 1_000);
    project.counts().await;
}

#[tokio::test]
#[ignore = "`make test-languages` has the tools"]
async fn instance_of_starling_monkey_is_used_again() {
    let project = Project::new(&["--lang", "js"], "js-longpoll", "node_modules");
    project.write("app.js", COUNTS_IN_JAVASCRIPT);
    project.run("npm", &["run", "build"]);
    project.is_of(&json!("JavaScript (StarlingMonkey)"), 1_000);
    project.counts().await;
}

#[tokio::test]
#[ignore = "`make test-languages` has the tools"]
async fn script_that_listens_for_fetch_gets_an_instance_for_each_request() {
    let project = Project::new(&["--lang", "js"], "js-longpoll", "node_modules");
    project.write("app.js", LISTENS_FOR_FETCH);
    // StarlingMonkey has the listener for this version alone.
    let wit = std::fs::read_to_string(project.folder.join("wit/linger.wit")).unwrap();
    project.write("wit/linger.wit", &wit.replace("0.2.12", "0.2.10"));
    project.run("npm", &["run", "build"]);
    project.is_of(&Value::Null, 1);
    let server = project.serve().await;
    assert_eq!(served(&server).await, [1; 5]);
}

#[tokio::test]
#[ignore = "`make test-languages` has the tools"]
async fn project_on_quickjs_builds_and_is_served() {
    let project = Project::new(&["--lang", "js", "--template", "hello"], "js-hello", "node_modules");
    project.run("npm", &["run", "build"]);
    let server = project.serve().await;
    assert_eq!(server.get("/?name=you").await.expect(200), "Hello, you!\n");
}

/// Answers with how often it did: the variable lives as long as the instance.
const COUNTS_IN_PYTHON: &str = "
from linger import Request, Response, serve

served = 0

async def handle(request: Request) -> Response:
    global served
    served += 1
    return Response.text(str(served))

IncomingHandler = serve(handle)
";

const COUNTS_IN_JAVASCRIPT: &str = "
import { Answer, serve } from './linger/index.js';

let served = 0;
export const incomingHandler = serve(() => Answer.text(`${++served}`));
";

const LISTENS_FOR_FETCH: &str = "
let served = 0;
addEventListener('fetch', (event) => event.respondWith(new Response(`${++served}`)));
";

/// What a handler that counts answers to some requests, one after the other.
async fn served(server: &Server) -> Vec<u32> {
    let mut client = Http1::connect(server.address()).await;
    let mut counted = Vec::new();
    for _ in 0..5 {
        counted.push(client.ask(&Request::get("/")).await.expect(200).parse().unwrap());
    }
    counted
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

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).unwrap();
    }

    /// What `linger check` says of its component. The code is in the cache then, so a server starts at once.
    #[track_caller]
    fn is_of(&self, runtime: &Value, uses: u32) {
        let output = linger_in(&self.folder, &["check", "app.wasm", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["runtime"], &report["max_uses"]), (runtime, &json!(uses)), "{report}");
    }

    /// An instance has several requests, and one each where the configuration says so.
    async fn counts(self) {
        let config = std::fs::read_to_string(self.folder.join("linger.toml")).unwrap();
        self.write("once.toml", &format!("{config}instances.max_uses = 1\n"));
        let server = Server::of_folder(self.parent, &self.folder.join("linger.toml")).await;
        let counted = served(&server).await;
        assert!(counted.iter().any(|&times| times > 1), "{counted:?}");
        let once = Server::of_folder(tempfile::tempdir().unwrap(), &self.folder.join("once.toml")).await;
        assert_eq!(served(&once).await, [1; 5]);
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
