//! The tools that operators have: curl, OpenSSL's client, nghttp and promtool. Without them a test is skipped, and says so.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::{ADMIN_TCP, Certificate, H1, KeptConnection, Request, Server, is_there};

/// Runs a tool with this input. Gives all that it printed.
fn run(tool: &str, arguments: &[impl AsRef<OsStr>], input: &[u8]) -> String {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool}: {}\n{printed}", output.status);
    printed.into_owned()
}

fn file(certificate: &Certificate) -> String {
    certificate.file().display().to_string()
}

#[tokio::test]
async fn curl_asks_by_each_protocol_over_tls() {
    if !is_there("curl", "--version") {
        return;
    }
    let certificate = Certificate::new();
    let server = Server::with_tls("hello", &certificate).await;
    let (url, trusted) = (format!("https://{}/", server.address()), file(&certificate));
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let write = "\n%{http_version} %{http_code} %{ssl_verify_result}";
        let printed = run("curl", &["-sS", option, "--cacert", &trusted, "-w", write, &url], b"");
        assert!(printed.ends_with(&format!("\n{version} 200 0")), "{printed}");
    }
}

#[tokio::test]
async fn client_of_openssl_chooses_its_protocol() {
    if !is_there("openssl", "version") {
        return;
    }
    let certificate = Certificate::new();
    let server = Server::with_tls("hello", &certificate).await;
    let (address, trusted) = (server.address().to_string(), file(&certificate));
    let connect = ["s_client", "-connect", &address, "-CAfile", &trusted, "-verify_return_error", "-alpn"];
    let printed = run("openssl", &[&connect[..], &["h2,http/1.1"]].concat(), b"");
    assert!(printed.contains("ALPN protocol: h2"), "{printed}");
    let request = b"GET / HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n\r\n";
    let printed = run("openssl", &[&connect[..], &["http/1.1", "-ign_eof", "-quiet"]].concat(), request);
    assert!(printed.contains("HTTP/1.1 200 OK"), "{printed}");
}

#[tokio::test]
async fn nghttp_has_many_streams_on_a_connection() {
    if !is_there("nghttp", "--version") {
        return;
    }
    let certificate = Certificate::new();
    for (scheme, server) in
        [("http", Server::start("hello").await), ("https", Server::with_tls("hello", &certificate).await)]
    {
        let url = format!("{scheme}://{}/", server.address());
        let printed = run("nghttp", &["--verbose", "--no-verify-peer", "--multiply=20", &url], b"");
        assert_eq!(printed.matches(":status: 200").count(), 20, "{printed}");
    }
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    if !is_there("promtool", "--version") {
        return;
    }
    let server = Server::with_config(&format!("{ADMIN_TCP}[apps.app]\ncomponent = '{{longpoll}}'\n")).await;
    server.send(H1, &Request::post("/push/q", "an event")).await.expect(202);
    server.get("/poll/q?wait=5").await.expect(200);
    let mut admin = KeptConnection::connect(H1, server.admin_address().await).await;
    let metrics = admin.ask(&Request::get("/metrics").host("localhost")).await;
    let said = run("promtool", &["check", "metrics"], metrics.expect(200).as_bytes());
    assert_eq!(said, "");
}
