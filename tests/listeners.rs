//! Where clients come in: Unix sockets, sockets of systemd, and proxies that say who their clients are.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use tokio::net::UnixStream;

use crate::harness::{
    Answer, Http1, Request, Server, assert_refused, both, command, linger, soon, text, write_config,
};

both!("longpoll", "longpoll-p2":
    client_of_a_unix_socket_that_leaves_costs_no_event,
    unix_socket_tells_what_was_read,
);

/// The first listener is for the harness.
const TCP: &str = "[[listeners]]\naddress = '127.0.0.1:0'\n";

/// A server that listens at a Unix socket, too, with these keys.
async fn at_socket(component: &str, keys: &str) -> Server {
    let config = format!(
        "detection.confirm_window = '20s'\n{TCP}[[listeners]]\naddress = 'unix:app.sock'\n{keys}\
        [apps.app]\ncomponent = '{{{component}}}'\n"
    );
    Server::with_config_and_access_log(&config).await
}

async fn connect(server: &Server) -> Http1<UnixStream> {
    Http1::at(&server.folder().join("app.sock")).await
}

async fn ask(server: &Server, request: &Request) -> Answer {
    connect(server).await.ask(request).await
}

/// Pushes by the other listener.
async fn push(server: &Server, event: &str) {
    Http1::connect(server.address()).await.ask(&Request::post("/push/q", event.to_owned())).await.expect(202);
}

async fn poll(server: &Server, wait: u64) -> Answer {
    ask(server, &Request::get(&format!("/poll/q?wait={wait}"))).await
}

async fn client_of_a_unix_socket_that_leaves_costs_no_event(component: &str) {
    let server = at_socket(component, "").await;
    for round in 0..50 {
        let mut client = connect(&server).await;
        client.send_request(&Request::get("/poll/q?wait=60")).await;
        server.overtake().await;
        drop(client);
        let event = format!("event {round}");
        push(&server, &event).await;
        let answer = poll(&server, 10).await;
        answer.expect(200);
        assert_eq!(answer.text(), event);
    }
}

async fn unix_socket_tells_what_was_read(component: &str) {
    let server = at_socket(component, "").await;
    // Read, by one who stays: it is over at once, long before the window is.
    push(&server, "read").await;
    let mut reader = connect(&server).await;
    assert_eq!(reader.ask(&Request::get("/poll/q?wait=10")).await.text(), "read");
    server.log.line(&["/poll/q?wait=10 200: delivered", "receipt=\"read\""]).await;
    // Unread, by one who leaves.
    for event in ["unread", &"long ".repeat(20_000)] {
        let mut leaver = connect(&server).await;
        leaver.send_request(&Request::get("/poll/q?wait=60")).await;
        push(&server, event).await;
        leaver.arrived(100).await;
        drop(leaver);
        let answer = poll(&server, 10).await;
        assert_eq!(answer.text(), event);
        assert_eq!(answer.header("maybe-delivered"), Some("true"));
    }
    // One that says that it sends no more, and reads.
    push(&server, "half closed").await;
    let mut half = connect(&server).await;
    half.send_request(&Request::get("/poll/q?wait=0")).await;
    half.arrived(100).await;
    half.finish().await;
    assert_eq!(half.answer().await.text(), "half closed");
    poll(&server, 0).await.expect(204);
}

#[tokio::test]
async fn socket_has_its_mode_and_goes_with_the_server() {
    let mut server = at_socket("hello", "mode = '0606'\n").await;
    let socket = server.folder().join("app.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o606);
    server.signal(rustix::process::Signal::TERM);
    assert!(server.exit().await.success());
    assert!(!socket.exists());
}

/// A command of the shell that becomes the server, with its standard input as the first socket that systemd passes.
const ACTIVATED: &str =
    "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$0\" serve \"$1\" 3<&0 </dev/null";

fn activated(file: &Path, socket: OwnedFd) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", ACTIVATED]).arg(command().get_program()).arg(file);
    shell.stdin(Stdio::from(socket)).env_remove("RUST_BACKTRACE");
    shell
}

#[tokio::test]
async fn socket_of_systemd_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_config(folder.path(), "listen = 'systemd:web'\n[apps.a]\ncomponent = '{hello}'\n");
    let socket = folder.path().join("web.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    // It waits in the socket until there is a server.
    let mut client = Http1::at(&socket).await;
    client.send_request(&Request::get("/")).await;
    let child =
        activated(&file, listener.into()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _killed = Killed(child);
    client.answer().await.expect(200);
}

#[tokio::test]
async fn systemd_is_told_when_it_serves_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let notified = tokio::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
    let file = write_config(folder.path(), "listen = 'unix:app.sock'\n[apps.a]\ncomponent = '{hello}'\n");
    let child = command()
        .args(["serve", text_of(&file)])
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Killed(child);
    assert_eq!(message(&notified).await, "READY=1\n");
    Http1::at(&folder.path().join("app.sock")).await.ask(&Request::get("/")).await.expect(200);
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(message(&notified).await, "STOPPING=1\n");
}

async fn message(socket: &tokio::net::UnixDatagram) -> String {
    let mut buffer = [0; 64];
    let length = soon("a message to systemd", socket.recv(&mut buffer)).await.unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn what_systemd_does_not_pass_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_config(folder.path(), "listen = 'systemd:other'\n[apps.a]\ncomponent = '{hello}'\n");
    assert_refused(
        &linger(&["serve", text_of(&file)]),
        &["systemd:other", "no sockets", "FileDescriptorName="],
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = activated(&file, listener.into()).output().unwrap();
    assert_refused(&output, &["systemd:other", "`web`"]);
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a guest sees of a request: whether it is secure and whose it is, then its headers.
async fn seen(client: &mut Http1<UnixStream>, headers: &[(&'static str, &str)]) -> String {
    let mut request = Request::get("/head");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    client.ask(&request).await.text().to_owned()
}

const FORGED: &[(&str, &str)] = &[
    ("forwarded", "for=9.9.9.9;proto=https"),
    ("x-forwarded-for", "9.9.9.9"),
    ("x-forwarded-proto", "https"),
    ("x-real-ip", "9.9.9.9"),
];

#[tokio::test]
async fn client_cannot_forge_its_address() {
    let server = at_socket("probe", "trusted_proxies = ['10.0.0.0/8']\n").await;
    let seen = seen(&mut connect(&server).await, FORGED).await;
    assert_eq!(seen, "false unknown\n");
    let mut tcp = Http1::connect(server.address()).await;
    let mut request = Request::get("/head");
    for (name, value) in FORGED {
        request = request.header(name, value);
    }
    assert_eq!(tcp.ask(&request).await.text(), "false 127.0.0.1\nx-forwarded-for: 127.0.0.1\n");
    server.log.line(&["GET /head", "client=127.0.0.1:"]).await;
}

#[tokio::test]
async fn trusted_proxy_names_its_clients() {
    let server = at_socket("probe", "trusted_proxies = ['unix', '10.0.0.0/8']\n").await;
    let mut proxy = connect(&server).await;
    // One connection of a proxy is of many clients.
    for (headers, expected) in [
        (
            &[("x-forwarded-for", "9.9.9.9, 192.0.2.1, 10.1.1.1"), ("x-forwarded-proto", "https")][..],
            "true 192.0.2.1",
        ),
        (&[("x-forwarded-for", "[2001:db8::1]:5"), ("x-forwarded-proto", "https")], "true 2001:db8::1"),
        (&[("x-forwarded-for", "192.0.2.2")], "false 192.0.2.2"),
        (&[], "false unknown"),
    ] {
        let seen = seen(&mut proxy, headers).await;
        assert_eq!(seen.lines().next(), Some(expected), "{headers:?}: {seen}");
    }
    server.log.line(&["GET /head", "client=[2001:db8::1]:5"]).await;
}

#[tokio::test]
async fn header_of_the_proxy_protocol_names_the_client() {
    let server = at_socket("probe", "proxy_protocol = true\ntrusted_proxies = ['unix']\n").await;
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x10\x92\0\x50";
    for (header, expected) in [
        (&b"PROXY TCP4 192.0.2.7 10.0.0.1 4242 80\r\n"[..], "192.0.2.7"),
        (v2, "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "unknown"),
    ] {
        let mut client = connect(&server).await;
        // In two pieces, since nothing says that it comes in one.
        client.send(&header[..7]).await;
        tokio::task::yield_now().await;
        client.send(&header[7..]).await;
        // The client that it names is not trusted with more.
        let seen = seen(&mut client, FORGED).await;
        assert_eq!(seen.lines().next(), Some(format!("false {expected}").as_str()));
        assert!(!seen.contains("9.9.9.9"), "{seen}");
    }
    // Without it, a trusted proxy gets no answer.
    let mut client = connect(&server).await;
    client.send_request(&Request::get("/head")).await;
    assert!(client.try_head().await.is_err());
}

#[tokio::test]
async fn stranger_has_no_header_of_the_proxy_protocol() {
    let config = "[[listeners]]\naddress = '127.0.0.1:0'\nproxy_protocol = true\ntrusted_proxies = ['10.0.0.0/8']\n\
        [apps.app]\ncomponent = '{probe}'\n";
    let server = Server::with_config(config).await;
    let mut client = Http1::connect(server.address()).await;
    client.send(b"PROXY TCP4 192.0.2.7 10.0.0.1 4242 80\r\nGET /head HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head().await.status, 400);
    assert!(server.get("/head").await.text().starts_with("false 127.0.0.1\n"));
}

#[test]
fn folder_of_a_socket_has_to_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let file =
        write_config(folder.path(), "listen = 'unix:nowhere/a.sock'\n[apps.a]\ncomponent = '{hello}'\n");
    assert_refused(&linger(&["serve", text_of(&file)]), &["nowhere/a.sock: cannot listen", "folder"]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (listener, words) in [
        ("address = 'unix:'", &["needs a path"][..]),
        ("address = 'localhost:80'", &["invalid address", "unix:PATH"]),
        ("address = '127.0.0.1:0'\nproxy_protocol = true", &["listeners[0]", "trusted_proxies"]),
        ("address = '127.0.0.1:0'\ntrusted_proxies = ['10.0.0.0/40']", &["not a network"]),
        ("address = 'unix:a'\nmode = '999'", &["not a file mode"]),
    ] {
        let config = format!("[[listeners]]\n{listener}\n[apps.a]\ncomponent = '{{hello}}'\n");
        let file = write_config(folder.path(), &config);
        let output = linger(&["serve", text_of(&file)]);
        assert_refused(&output, words);
        assert!(!text(&output.stderr).contains("panicked"));
    }
}
