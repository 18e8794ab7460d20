//! Which route a request takes, however its host and its path are spelled: what a route guards is not reached past it.

use http::Method;

use crate::harness::{Answer, H1, H2, Http1, Protocol, Request, Server, both};

both!("faulty", "faulty-p2":
    guest_sees_the_path_that_was_decided_by,
    host_is_compared_without_its_dot_port_and_case,
);

/// An app for all, and the same below `/see/admin` behind a token.
const GUARDED: &str = "[apps.open]\ncomponent = '{faulty}'\n\
     [apps.guarded]\ncomponent = '{faulty}'\nmiddleware = ['{token}']\nenv = { TOKEN = 'secret' }\n\
     [[routes]]\napp = 'open'\n[[routes]]\napp = 'guarded'\npath = '/see/admin'\n";

async fn get(server: &Server, protocol: Protocol, target: &str) -> Answer {
    match protocol {
        // As it is: no library has looked at it.
        Protocol::Http1 => {
            let mut client = Http1::connect(server.address()).await;
            client.send(format!("GET {target} HTTP/1.1\r\nhost: test.example\r\n\r\n")).await;
            client.answer().await
        }
        Protocol::Http2 => server.send(H2, &Request::get(target)).await,
    }
}

#[tokio::test]
async fn guard_is_not_passed_by_spelling() {
    let server = Server::with_config(GUARDED).await;
    for protocol in [H1, H2] {
        get(&server, protocol, "/see/other").await.expect(200);
        for target in ["/see/admin", "/see/admin/x", "/see/%61dmin", "/s%65e/admin?x", "/see/admin//x"] {
            get(&server, protocol, target).await.expect(401);
        }
        for target in [
            "//see/admin",
            "/see//admin",
            "/see/x/../admin",
            "/see/./admin",
            "/see/%2e/admin",
            "/see/x/%2E%2e/admin",
            "/see%2Fadmin",
            "/see/x%2f..%2fadmin",
            "/see/x\\..\\admin",
            "/see/admin/../x",
            "/see/admin/..%2fx",
            "/x/..//see/admin",
        ] {
            let answer = get(&server, protocol, target).await;
            assert!(answer.expect(400).contains("ambiguous"), "{target}: {}", answer.text());
            assert!(answer.header("x-request-id").is_some());
        }
        // Where it makes no difference, paths are the guest's to read.
        for target in ["/see/x//y", "/see/x/../y", "/see/x%2Fy", "/see/admin%20"] {
            get(&server, protocol, target).await.expect(200);
        }
    }
}

async fn guest_sees_the_path_that_was_decided_by(component: &str) {
    let server = Server::start(component).await;
    for (target, seen) in [
        ("/%73ee/%7Ea%2Fb%20", "/see/~a%2Fb%20"),
        ("/see//x/../y", "/see//x/../y"),
        ("/see/%2e", "/see/."),
        ("/see/%252e%ff%", "/see/%252e%ff%"),
    ] {
        let answer = get(&server, H1, target).await;
        assert_eq!(answer.expect(200).lines().next(), Some(seen), "{target}");
    }
}

async fn host_is_compared_without_its_dot_port_and_case(component: &str) {
    let server = Server::with_config(&format!(
        "[apps.named]\ncomponent = '{{{component}}}'\n[apps.rest]\ncomponent = '{{hello}}'\n\
         [[routes]]\napp = 'named'\nhost = 'Example.com'\n[[routes]]\napp = 'rest'\n"
    ))
    .await;
    for protocol in [H1, H2] {
        for host in ["example.com", "EXAMPLE.com", "example.com.", "example.com.:8080", "example.com:"] {
            let answer = server.send(protocol, &Request::get("/see").host(host)).await;
            assert!(answer.expect(200).starts_with("/see\n"), "{host}: {}", answer.text());
        }
        for host in ["www.example.com", "example.com.org"] {
            assert!(
                !server.send(protocol, &Request::get("/see").host(host)).await.text().starts_with("/see")
            );
        }
    }
}

#[tokio::test]
async fn one_request_has_one_host() {
    let server = Server::with_config(
        "[apps.a]\ncomponent = '{faulty}'\n[apps.b]\ncomponent = '{hello}'\n\
         [[routes]]\napp = 'a'\nhost = 'a'\n[[routes]]\napp = 'b'\nhost = 'b'\n",
    )
    .await;
    // HTTP/1.1: the absolute form wins, and the header is not seen.
    let mut client = Http1::connect(server.address()).await;
    client.send("GET http://a/see HTTP/1.1\r\nhost: b\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.expect(200).starts_with("/see\n"), "{}", answer.text());
    assert!(!answer.text().contains("host:"), "{}", answer.text());
    // It is required all the same, and valid.
    for host in ["", "host: a b\r\n", "host: a\r\nhost: a\r\n", "host: a:x\r\n", "host: %61\r\n"] {
        let mut client = Http1::connect(server.address()).await;
        client.send(format!("GET http://a/see HTTP/1.1\r\n{host}\r\n")).await;
        assert_eq!(client.answer().await.status, 400, "{host:?}");
    }
    // HTTP/2: two that differ are refused.
    for (host, status) in [("a", 200), ("A:80", 200), ("b", 400), ("a:8080", 400), ("a b", 400)] {
        let answer = server.send(H2, &Request::get("/see").host("a").header("host", host)).await;
        assert_eq!(answer.status, status, "{host}");
    }
}

#[tokio::test]
async fn targets_that_are_no_paths_are_refused() {
    let server = Server::start("faulty").await;
    for (line, status, says) in [
        ("GET test.example:80 HTTP/1.1", 400, "no path"),
        ("CONNECT test.example:80 HTTP/1.1", 501, "CONNECT"),
        ("CONNECT /see HTTP/1.1", 501, "CONNECT"),
        ("CONNECT http://test.example/see HTTP/1.1", 501, "CONNECT"),
        ("GET * HTTP/1.1", 400, "OPTIONS"),
        ("OPTIONS * HTTP/1.1", 404, ""),
        ("GET see HTTP/1.1", 400, "no path"),
        ("GET ?see HTTP/1.1", 400, "not a valid HTTP/1.1 request"),
        ("GET /see HTTP/1.1", 200, ""),
        ("GET http://test.example HTTP/1.1", 404, ""),
    ] {
        let mut client = Http1::connect(server.address()).await;
        client.send(format!("{line}\r\nhost: test.example\r\n\r\n")).await;
        let answer = client.answer().await;
        assert!(answer.expect(status).contains(says), "{line}: {}", answer.text());
        assert!(answer.header("x-request-id").is_some(), "{line}");
    }
    let connect = Request::new(Method::CONNECT, "");
    assert!(server.send(H2, &connect).await.expect(501).contains("CONNECT"));
}
