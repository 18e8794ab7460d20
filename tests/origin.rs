//! Who a client is and how it came: the connection says so, or a trusted proxy in the headers that are believed of it.

use std::sync::Arc;

use bytes::Bytes;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::{Certificate, Http1, Request, Server, soon};

/// In clear, by a Unix socket of a trusted proxy, and over TLS.
struct OriginDesk {
    server: Server,
    certificate: Certificate,
    tls: String,
}

impl OriginDesk {
    async fn new(keys: &str) -> Self {
        let certificate = Certificate::new();
        let config = format!(
            "[[listeners]]\naddress = '127.0.0.1:0'\n[[listeners]]\naddress = '127.0.0.1:0'\n\
            tls = {{ certificate = '{}', key = '{}' }}\n\
            [[listeners]]\naddress = 'unix:app.sock'\ntrusted_proxies = ['unix', '10.0.0.0/8']\n{keys}\n\
            [apps.app]\ncomponent = '{{probe}}'\n",
            certificate.file().display(),
            certificate.key().display()
        );
        let server = Server::with_config_and_access_log(&config).await;
        let tls = server.output.line(&["https://"]).await;
        let tls = tls.rsplit("https://").next().unwrap().to_owned();
        Self { server, certificate, tls }
    }

    async fn plain(&self) -> TcpStream {
        soon("connecting", TcpStream::connect(self.server.address())).await.unwrap()
    }

    async fn secure(&self, protocol: &str) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificate.file()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = soon("connecting", TcpStream::connect(&self.tls)).await.unwrap();
        let connecting =
            TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("127.0.0.1").unwrap(), stream);
        soon("a handshake", connecting).await.unwrap()
    }

    /// What a guest sees of a request that a trusted proxy passes on: whether it is secure and whose it is, and then its headers.
    async fn by_proxy(&self, target: &str, headers: &[(&str, &str)]) -> String {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Http1::<UnixStream>::at(&self.server.folder().join("app.sock"))
            .await
            .ask(&request)
            .await
            .text()
            .to_owned()
    }
}

/// Asks over HTTP/1.1 for a URI: whether the guest takes it for a secure one.
async fn is_secure(mut stream: impl AsyncRead + AsyncWrite + Unpin, uri: &str) -> bool {
    let request = format!("GET {uri} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A client that ends before a notice of the end of TLS is of no interest here.
    let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    said(answer.split_once("\r\n\r\n").unwrap().1)
}

/// The same over HTTP/2, where the scheme is a field of its own.
async fn is_secure_2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: &str) -> bool {
    let (requests, connection) = soon("the handshake", h2::client::handshake(stream)).await.unwrap();
    let mut driven = tokio::task::JoinSet::new();
    driven.spawn(connection);
    let mut requests = soon("room for a stream", requests.ready()).await.unwrap();
    let request = http::Request::get(uri).body(()).unwrap();
    let (response, _) = requests.send_request(request, true).unwrap();
    let mut body = soon("an answer", response).await.unwrap().into_body();
    let mut text = Vec::<u8>::new();
    while let Some(data) = soon("a body", body.data()).await {
        let data: Bytes = data.unwrap();
        text.extend(&data);
    }
    said(&String::from_utf8(text).unwrap())
}

fn said(text: &str) -> bool {
    match text.split_whitespace().find(|word| matches!(*word, "true" | "false")) {
        Some(word) => word == "true",
        None => panic!("{text}"),
    }
}

#[tokio::test]
async fn connection_decides_whether_a_request_is_secure() {
    let desk = OriginDesk::new("").await;
    for uri in ["/head", "http://a.example/head", "https://a.example/head"] {
        assert!(!is_secure(desk.plain().await, uri).await, "{uri}");
        assert!(is_secure(desk.secure("http/1.1").await, uri).await, "{uri}");
    }
    for uri in ["http://a.example/head", "https://a.example/head"] {
        assert!(!is_secure_2(desk.plain().await, uri).await, "{uri}");
        assert!(is_secure_2(desk.secure("h2").await, uri).await, "{uri}");
    }
}

#[tokio::test]
async fn trusted_proxy_decides_whether_a_request_is_secure() {
    let desk = OriginDesk::new("").await;
    // Proxies pass on the URI that their client has sent.
    for target in ["/head", "http://a.example/head", "https://a.example/head"] {
        for (headers, secure) in [
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "http")][..], false),
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")], true),
            (&[("x-forwarded-for", "192.0.2.1, 10.0.0.2"), ("x-forwarded-proto", "https,http")], true),
            (&[("x-forwarded-for", "192.0.2.1, 10.0.0.2"), ("x-forwarded-proto", "http, https")], false),
            // Nothing is said, so it is how the proxy came.
            (&[("x-forwarded-for", "192.0.2.1")], false),
        ] {
            let seen = desk.by_proxy(target, headers).await;
            assert_eq!(
                seen,
                format!("{secure} 192.0.2.1\nx-forwarded-for: 192.0.2.1\n"),
                "{target} {headers:?}"
            );
        }
    }
}

#[tokio::test]
async fn one_family_of_headers_is_believed() {
    let made_up = [("forwarded", "for=6.6.6.6;proto=https"), ("forwarded", "for=6.6.6.6")];
    let desk = OriginDesk::new("").await;
    let headers =
        [&made_up[..], &[("x-forwarded-for", "192.0.2.1,"), ("x-forwarded-proto", "http")]].concat();
    let seen = desk.by_proxy("/head", &headers).await;
    assert_eq!(seen, "false 192.0.2.1\nx-forwarded-for: 192.0.2.1\n");
    desk.server.log.line(&["GET /head", "client=192.0.2.1"]).await;
    let seen = desk.by_proxy("/head", &made_up).await;
    assert_eq!(seen, "false unknown\n");
    // What the proxy says besides is its matter, and an address says the same everywhere.
    let besides =
        [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-host", "b.example"), ("x-real-ip", "6.6.6.6")];
    let seen = desk.by_proxy("/head", &besides).await;
    assert!(
        seen.contains("x-forwarded-host: b.example\n") && seen.contains("x-real-ip: 192.0.2.1\n"),
        "{seen}"
    );

    let desk = OriginDesk::new("proxy_headers = 'forwarded'").await;
    let made_up = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "bank.example"),
    ];
    let line = "for=6.6.6.6;proto=https, for=192.0.2.1;host=\"a, for=6.6.6.6;proto=https\";proto=http";
    let seen = desk.by_proxy("/head", &[&made_up[..], &[("forwarded", line)]].concat()).await;
    assert_eq!(seen, "false 192.0.2.1\nx-forwarded-for: 192.0.2.1\n");
    let seen = desk.by_proxy("/head", &made_up).await;
    assert_eq!(seen, "false unknown\n");
    let line = "for=192.0.2.1;proto=https, for=\"10.0.0.2:80\";proto=http, ";
    assert!(desk.by_proxy("/head", &[("forwarded", line)]).await.starts_with("true 192.0.2.1\n"));
}

/// What a client makes up to seem another, or to have come in another way.
const FORGED: &[&str] = &[
    "forwarded",
    "x-forwarded-ssl",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
    "x-forwarded-user",
    "x-forwarded-server",
    "x-forwarded-client-cert",
    "X_Forwarded_For",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "front-end-https",
    "client-cert",
];

#[tokio::test]
async fn strangers_say_nothing_of_themselves() {
    let desk = OriginDesk::new("").await;
    let mut request = Request::get("/head").header("x-request-id", "mine");
    for name in FORGED {
        request = request.header(name, "9.9.9.9");
    }
    let answer = Http1::connect(desk.server.address()).await.ask(&request).await;
    let text = answer.text();
    assert!(text.starts_with("false 127.0.0.1\n") && text.contains("x-request-id: mine\n"), "{text}");
    assert!(!text.contains("9.9.9.9"), "{text}");
}

#[tokio::test]
async fn proxy_may_speak_for_itself_in_any_way() {
    let config = "[[listeners]]\naddress = '127.0.0.1:0'\nproxy_protocol = true\ntrusted_proxies = ['127.0.0.0/8']\n\
        [apps.app]\ncomponent = '{probe}'\n";
    let server = Server::with_config(config).await;
    for (family, length) in [(0x00, 0), (0x11, 0), (0x11, 5), (0x21, 12), (0x31, 300), (0xff, 4_096)] {
        let mut client = Http1::connect(server.address()).await;
        let length = u16::try_from(length).unwrap();
        client.send(b"\r\n\r\n\0\r\nQUIT\n\x20").await;
        client.send(&[&[family][..], &length.to_be_bytes(), &vec![7; length.into()]].concat()).await;
        // It is the proxy's own, and of nobody else.
        let seen = client.ask(&Request::get("/head").header("x-forwarded-for", "9.9.9.9")).await;
        assert_eq!(seen.text(), "false 127.0.0.1\nx-forwarded-for: 127.0.0.1\n", "{family:#x} {length}");
    }
    // Longer than anybody needs.
    let mut client = Http1::connect(server.address()).await;
    client.send(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\xff\xff").await;
    assert!(client.try_head().await.is_err());
}
