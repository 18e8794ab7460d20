//! Real proxies as docs/listeners.md sets them, and a client that makes up all that they could say of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tokio::net::TcpSocket;

use crate::harness::{Http1, Request, Server, eventually, is_there, root};

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 1);

const FORGED: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-ssl",
    "x-forwarded-scheme",
    "x-forwarded-user",
    "x_forwarded_for",
    "x-real-ip",
];

/// A proxy that was started. Dropped, it is killed.
struct ForgedProxy(Child);

impl Drop for ForgedProxy {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl ForgedProxy {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

/// An address of this process's own: a proxy cannot say which port it got.
fn address(port: u16) -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, high.max(1), middle, low.max(1)), port).into()
}

/// The part of the documents in this language.
fn documented(language: &str) -> String {
    let file = root().join("docs/listeners.md");
    let text = std::fs::read_to_string(file).unwrap();
    let (_, after) = text.split_once(&format!("```{language}\n")).unwrap();
    after.split_once("```").unwrap().0.to_owned()
}

fn put(server: &Server, name: &str, text: &str) -> PathBuf {
    let file = server.folder().join(name);
    std::fs::write(&file, text).unwrap();
    file
}

async fn behind_a_proxy() -> Server {
    let config = "[[listeners]]\naddress = '127.0.0.1:0'\ntrusted_proxies = ['127.0.0.1']\n\
        [apps.app]\ncomponent = '{probe}'\n";
    Server::with_config(config).await
}

/// Connects from an address that is none of a proxy.
async fn connect(proxy: SocketAddr) -> Option<Http1> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((CLIENT, 0).into()).unwrap();
    Some(Http1::over(socket.connect(proxy).await.ok()?))
}

/// Asks through the proxy, once it listens: the guest sees who has asked, and nothing that it has made up.
async fn ask_with_forgeries(proxy: SocketAddr) {
    let mut client = eventually("the proxy listens", async || connect(proxy).await).await;
    for target in ["/head", "http://a.example/head", "https://a.example/head"] {
        let mut request = Request::get(target).host("a.example");
        for name in FORGED {
            request = request.header(name, "for=9.9.9.9;proto=https");
        }
        let answer = client.ask(&request).await;
        let seen = answer.expect(200);
        assert!(seen.starts_with(&format!("false {CLIENT}\n")), "{target}: {seen}");
        assert!(seen.contains(&format!("x-forwarded-for: {CLIENT}\n")), "{target}: {seen}");
        assert!(!seen.contains("9.9.9.9"), "{target}: {seen}");
    }
}

#[tokio::test]
async fn nginx_as_documented_passes_no_forgery_on() {
    if !is_there("nginx", "-v") {
        return;
    }
    let (server, listen) = (behind_a_proxy().await, address(8_001));
    let folder = server.folder().display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
        .concat();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n\
        http {{\naccess_log off;\n{temporary}server {{\nlisten {listen};\nunderscores_in_headers on;\n\
        location / {{\nproxy_pass http://{};\n{}}}\n}}\n}}\n",
        server.address(),
        documented("nginx")
    );
    let file = put(&server, "nginx.conf", &config);
    let _proxy = ForgedProxy::start(Command::new("nginx").arg("-c").arg(file).arg("-p").arg(server.folder()));
    ask_with_forgeries(listen).await;
}

#[tokio::test]
async fn haproxy_as_documented_passes_no_forgery_on() {
    if !is_there("haproxy", "-v") {
        return;
    }
    let (server, listen) = (behind_a_proxy().await, address(8_002));
    let config = format!(
        "defaults\nmode http\ntimeout connect 9s\ntimeout client 50s\ntimeout server 50s\n\
        frontend f\nbind {listen}\n{}default_backend b\nbackend b\nserver s {}\n",
        documented("haproxy"),
        server.address()
    );
    let file = put(&server, "haproxy.cfg", &config);
    let _proxy = ForgedProxy::start(Command::new("haproxy").arg("-f").arg(file));
    ask_with_forgeries(listen).await;
}
