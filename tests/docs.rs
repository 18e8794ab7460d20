//! What documents tell people to type: each command is run as it stands there, and prints what is written under it. And links
//! between documents resolve.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use linger_config::Config;

use crate::harness::{ADMIN_TCP, Certificate, Server, component, put, root, soon, text};

/// How long a command may take: some play a whole suite.
const PATIENCE: Duration = Duration::from_mins(3);

/// A block of a document, with the word after its fence.
struct Block {
    place: String,
    kind: String,
    text: String,
}

/// All documents of the repository, by their paths in it. Folders of builds and of tools have none.
fn documents() -> Vec<PathBuf> {
    let (root, mut all, mut folders) = (root(), Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let (kind, name) = (entry.file_type().unwrap(), entry.file_name().into_string().unwrap());
            let path = folder.join(&name);
            if kind.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|kind| kind == "md") {
                all.push(path);
            }
        }
    }
    all.sort();
    all
}

/// Those whose blocks are tried: the README first, other documents at the top, and what is in `docs/`.
fn tried() -> Vec<PathBuf> {
    let (top, docs) = (Path::new(""), Path::new("docs"));
    let mut all = documents();
    all.retain(|path| path.parent().is_some_and(|folder| folder == top || folder == docs));
    all.sort_by_key(|path| path != Path::new("README.md"));
    all
}

fn read(document: &Path) -> String {
    std::fs::read_to_string(root().join(document)).unwrap()
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for file in tried() {
        let document = read(&file);
        let mut open: Option<Block> = None;
        for (number, line) in document.lines().enumerate() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(kind), None) => {
                    let place = format!("{}:{}", file.display(), number + 1);
                    open = Some(Block { place, kind: kind.to_owned(), text: String::new() });
                }
                (None, Some(block)) => block.text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
    }
    blocks
}

/// The lines of a document that are in no block.
fn prose(document: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    document.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// Where the links of a document lead: `](here)`.
fn links(document: &str) -> Vec<String> {
    let text: Vec<&str> = prose(document).collect();
    let text = text.join("\n");
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link.to_owned())
        .collect()
}

/// The fragments under which the headings of a document can be found.
fn anchors(document: &str) -> Vec<String> {
    let headings = prose(document).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        text.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_between_documents_resolve() {
    let mut count = 0;
    for document in documents() {
        for link in links(&read(&document)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let place = format!("{}: {link}", document.display());
            let to = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            assert!(root().join(&to).exists(), "{place}: there is no such file");
            assert!(
                anchor.is_empty() || anchors(&read(&to)).iter().any(|known| known == anchor),
                "{place}: no such heading"
            );
            count += 1;
        }
    }
    assert!(count > 50, "{count} links were found");
}

#[test]
fn every_document_is_in_its_index() {
    for folder in ["docs", "docs/decisions"] {
        let index = read(&Path::new(folder).join("README.md"));
        for document in documents().iter().filter(|path| path.parent() == Some(Path::new(folder))) {
            let name = document.file_name().unwrap().to_str().unwrap();
            assert!(
                name == "README.md" || index.contains(&format!("({name})")),
                "{name} is not in {folder}/README.md"
            );
        }
    }
}

/// A command, and what it should say.
struct Typed {
    place: String,
    command: String,
    says: Vec<String>,
}

/// Those of a block for consoles, or for the shell.
fn commands(block: &Block) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    for line in block.text.lines().filter(|line| !line.is_empty()) {
        let typed = if block.kind == "sh" { Some(line) } else { line.strip_prefix("$ ") };
        match (typed, all.last_mut()) {
            (Some(typed), _) => {
                // A remark for the reader, far enough away.
                let command = typed.split("  #").next().unwrap().trim().to_owned();
                all.push(Typed { place: block.place.clone(), command, says: Vec::new() });
            }
            (None, Some(last)) => last.says.push(line.to_owned()),
            (None, None) => panic!("{}: {line:?} is said by no command", block.place),
        }
    }
    all
}

/// How a command comes to its end.
#[derive(Debug, PartialEq, Eq)]
enum Course {
    /// By itself.
    Ends,
    /// It waits for the next one.
    Parks,
    /// It goes on: a first line is enough.
    GoesOn,
    /// It is for another test, or another machine.
    Elsewhere,
}

fn course(command: &str) -> Course {
    let has = |part| command.contains(part);
    let starts = |with: &[&str]| with.iter().any(|with| command.starts_with(with));
    match () {
        // They run this test, or take as long as it; and what this machine need not have.
        () if starts(&["make ", "cargo ", "docker ", "systemctl ", "apt "]) => Course::Elsewhere,
        () if has("?wait=30") => Course::Parks,
        () if starts(&["linger serve"]) || has("--watch") || has("--follow") => Course::GoesOn,
        () => Course::Ends,
    }
}

/// A server that runs as the documents have it, and a shell beside it.
struct DocsDesk {
    server: Server,
    admin: String,
    tls: String,
    _certificate: Certificate,
}

impl DocsDesk {
    async fn new() -> Self {
        let certificate = Certificate::new();
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(component("longpoll-p2"), folder.path().join("poll.wasm")).unwrap();
        std::fs::copy(certificate.file(), folder.path().join("cert.pem")).unwrap();
        std::fs::copy(certificate.key(), folder.path().join("key.pem")).unwrap();
        let server = Server::in_folder(folder, &configuration("")).await;
        let admin = server.admin_address().await.to_string();
        let tls = server.output.line(&["https://"]).await;
        let tls = tls.rsplit("https://").next().unwrap().to_owned();
        Self { server, admin, tls, _certificate: certificate }
    }

    /// The command in a shell, with the addresses that there are. Rounds are fewer than a reader has time for.
    fn shell(&self, command: &str) -> Command {
        let mut command = command
            .replace("127.0.0.1:8080", &self.server.address().to_string())
            .replace("127.0.0.1:8443", &self.tls)
            .replace("127.0.0.1:9070", &self.admin)
            .replace("--rounds 1000", "--rounds 5");
        if command.starts_with("linger serve") {
            command += " --listen 127.0.0.1:0";
        } else if command.starts_with("linger conformance") && !command.contains("--rounds") {
            command += " --rounds 1";
        }
        let binaries = Path::new(env!("CARGO_BIN_EXE_linger")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        // What the shell starts is killed by its number.
        shell.args(["-c", &format!("exec {command}")]).current_dir(self.server.folder());
        shell.env("PATH", format!("{}:{path}", binaries.display())).env("LINGER_ADMIN", &self.admin);
        shell.env_remove("RUST_BACKTRACE").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell
    }

    /// Asks again and again, so that there is something to follow.
    async fn keep_busy(&self) {
        loop {
            self.server.get("/poll/nothing?wait=0").await.expect(204);
        }
    }

    /// What a reader has done before a command.
    fn prepare(&self, command: &str) {
        let folder = self.server.folder();
        if command.starts_with("linger deploy") {
            put(&folder.join("poll.wasm"), "longpoll");
        } else if command.starts_with("linger reload") {
            std::fs::write(folder.join("linger.toml"), configuration("limits.max_connections = 99\n"))
                .unwrap();
        }
    }
}

fn configuration(more: &str) -> String {
    format!(
        "{more}[[listeners]]\naddress = '127.0.0.1:0'\n[[listeners]]\naddress = '127.0.0.1:0'\n\
        tls = {{ certificate = 'cert.pem', key = 'key.pem' }}\n{ADMIN_TCP}[apps.poll]\ncomponent = 'poll.wasm'\n"
    )
}

/// A command that was started, and is killed if it has not ended.
struct Started(Option<Child>);

impl Started {
    async fn end(mut self) -> Output {
        let child = self.0.take().unwrap();
        let ended = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
        tokio::time::timeout(PATIENCE, ended).await.expect("the command ends").unwrap()
    }

    /// The first line that it prints.
    async fn line(&mut self) -> String {
        use std::io::BufRead as _;
        let out = self.0.as_mut().unwrap().stdout.take().unwrap();
        let first = tokio::task::spawn_blocking(|| std::io::BufReader::new(out).lines().next());
        soon("a first line", first).await.unwrap().transpose().unwrap().unwrap_or_default()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[track_caller]
fn assert_says(desk: &DocsDesk, typed: &Typed, output: &Output) {
    let Typed { place, command, says } = typed;
    assert!(output.status.success(), "{place}: {command}: {output:?}");
    // The server of a reader was started where its files are.
    let folder = format!("{}/", desk.server.folder().display());
    let said = text(&output.stdout).replace(&folder, "");
    for line in says {
        assert!(said.contains(line.as_str()), "{place}: {command}: {said:?} does not say {line:?}");
    }
}

#[tokio::test]
async fn commands_do_what_the_documents_say() {
    let desk = DocsDesk::new().await;
    let mut count = 0;
    for block in blocks().iter().filter(|block| matches!(block.kind.as_str(), "console" | "sh")) {
        let mut parked: Option<(Typed, Started)> = None;
        for typed in commands(block) {
            let course = course(&typed.command);
            if course == Course::Elsewhere {
                continue;
            }
            desk.prepare(&typed.command);
            let mut started = Started(Some(desk.shell(&typed.command).spawn().unwrap()));
            count += 1;
            match course {
                Course::Parks => parked = Some((typed, started)),
                Course::GoesOn => tokio::select! {
                    line = started.line() => assert!(!line.is_empty(), "{}", typed.command),
                    () = desk.keep_busy() => {}
                },
                _ => assert_says(&desk, &typed, &started.end().await),
            }
        }
        if let Some((typed, started)) = parked {
            assert_says(&desk, &typed, &started.end().await);
        }
    }
    assert!(count > 20, "{count} commands were found");
}

#[test]
fn configurations_in_the_documents_are_valid() {
    let mut count = 0;
    for Block { place, mut text, .. } in blocks().into_iter().filter(|block| block.kind == "toml") {
        // Some show a part.
        if !text.contains("component =") {
            text = format!("components = '.'\n{text}");
        }
        if !text.contains("[apps.") {
            text += "\n[apps.x]\n";
        }
        let parsed = Config::parse(&text, Path::new("linger.toml"), |_| Some("value".to_owned()));
        parsed.unwrap_or_else(|error| panic!("{place}: {error}\n{text}"));
        count += 1;
    }
    assert!(count > 4, "{count} configurations were found");
}
