//! Answers that are for one client and one moment, and caches that would give them to others.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use http::Method;
use tempfile::TempDir;

use crate::harness::{
    Answer, H1, Http1, Protocol, Request, Server, both, combinations, eventually, is_there, places,
};

combinations!("careless", "careless-p2":
    answer_that_could_hold_an_event_is_not_kept,
    guest_says_itself_what_is_kept,
);

both!("careless", "careless-p2": varnish_gives_an_event_to_one_client);

const NO_STORE: Option<&str> = Some("no-store");

async fn of(server: &Server, protocol: Protocol, target: &str) -> Answer {
    server.send(protocol, &Request::get(target)).await
}

async fn answer_that_could_hold_an_event_is_not_kept(server: Server, protocol: Protocol) {
    for (prepare, target, status) in [
        ("/push/q?text=one", "/take/q", 200),
        ("/push/q?text=one", "/take/q?ack=yes&status=404", 404),
        ("/push/q?text=two", "/take/q?ack=yes&status=204", 204),
        ("/push/q?text=two", "/stream/q", 200),
        ("/still", "/take/q?wait=0", 204),
        ("/still", "/follow/t?wait=0", 204),
        ("/publish/t?text=one", "/follow/t", 200),
    ] {
        of(&server, protocol, prepare).await;
        let answer = of(&server, protocol, target).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (status, NO_STORE), "{target}");
    }
    let head = server.send(protocol, &Request::new(Method::HEAD, "/take/q?wait=0")).await;
    assert_eq!(head.header("cache-control"), NO_STORE);
    // What has to do with no event is for caches as it was.
    assert_eq!(of(&server, protocol, "/still").await.header("cache-control"), None);
}

async fn guest_says_itself_what_is_kept(server: Server, protocol: Protocol) {
    let answer = of(&server, protocol, "/take/q?wait=0&cache=max-age%3D5").await;
    assert_eq!(answer.headers.get_all("cache-control").iter().count(), 1);
    assert_eq!(answer.header("cache-control"), Some("max-age=5"));
}

#[tokio::test]
async fn what_the_host_says_itself_is_not_kept() {
    let config = format!(
        "[apps.app]\n{}max_requests = 1\n[apps.faulty]\ncomponent = '{{faulty}}'\n\
         [[routes]]\napp = 'app'\npath = '/take'\nmethods = ['GET']\n\
         [[routes]]\napp = 'faulty'\npath = '/'\nhost = 'faulty.example'\n\
         [[routes]]\napp = 'faulty'\npath = '/hang'\ndeadline = '100ms'\ngrace = '0s'\n",
        places("careless", 1)
    );
    let server = Server::with_config(&config).await;
    let faulty = Request::get("/panic").host("faulty.example");
    for (request, status) in [
        (Request::get("/nowhere"), 404),
        (Request::post("/take/q", ""), 405),
        (faulty, 500),
        (Request::get("/hang"), 504),
        (Request::get("/take/q").host("user@host"), 400),
    ] {
        let answer = server.send(H1, &request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("cache-control")),
            (status, NO_STORE),
            "{}",
            request.target
        );
    }
    let _parked = server.occupy(H1, "/take/q", "/take/q?wait=0").await;
    let refused = server.get("/take/q").await;
    assert_eq!((refused.status.as_u16(), refused.header("cache-control")), (503, NO_STORE));
}

/// A cache as it comes, in front of a server. Dropped, it is killed.
struct Varnish {
    child: Child,
    folder: TempDir,
}

impl Varnish {
    /// None where there is no Varnish.
    fn before(server: &Server) -> Option<Self> {
        if !is_there("varnishd", "-V") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("varnishd")
            .args(["-F", "-a", "127.0.0.1:0", "-s", "malloc,16m", "-b", &server.address().to_string(), "-n"])
            .arg(folder.path().join("varnish"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { child, folder })
    }

    async fn connect(&self) -> Http1 {
        let told = async || told(&self.folder.path().join("varnish"));
        Http1::connect(eventually("Varnish listens", told).await).await
    }
}

impl Drop for Varnish {
    fn drop(&mut self) {
        // Asked to, it takes the process along that it has for itself.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        drop(self.child.wait());
    }
}

/// Where it listens, once it does: `a0 127.0.0.1 PORT`.
fn told(folder: &Path) -> Option<std::net::SocketAddr> {
    let output =
        Command::new("varnishadm").arg("-n").arg(folder).arg("debug.listen_address").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace().skip(1);
    format!("{}:{}", words.next()?, words.next()?).parse().ok()
}

async fn varnish_gives_an_event_to_one_client(careless: &str) {
    let server = Server::start(careless).await;
    let Some(varnish) = Varnish::before(&server) else { return };
    // Nothing is kept of a queue that was empty.
    let mut first = varnish.connect().await;
    first.ask(&Request::get("/take/q?wait=0")).await.expect(204);
    for event in ["one", "two", "three"] {
        server.get(&format!("/push/q?text={event}")).await.expect(204);
    }
    for event in ["one", "two", "three"] {
        let mut client = varnish.connect().await;
        assert_eq!(client.ask(&Request::get("/take/q?wait=0")).await.expect(200), event);
    }
    first.ask(&Request::get("/take/q?wait=0")).await.expect(204);
}
