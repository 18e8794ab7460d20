//! New generations: tried before they serve, switched to at once, with nothing lost on the way.

use tokio::time::timeout;

use crate::cli::{MISSING_IMPORT, file, wat};
use crate::harness::{
    ABSENCE, ADMIN, H1, H2, Request, Server, assert_refused, assert_serves, both, component, eventually,
    linger, serve_in_vain, text,
};

async fn serve_component(name: &str) -> Server {
    Server::operated(&format!("component = '{{{name}}}'\n")).await
}

#[tokio::test]
async fn next_request_goes_to_the_new_generation() {
    let server = serve_component("hello").await;
    assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
    for (name, generation, greeting) in
        [("plain-p3", 2, "plain-p3\n"), ("plain-p2", 3, "plain-p2\n"), ("hello", 4, "Hello, world!\n")]
    {
        assert_serves(&server.deploy(name).await, generation);
        for protocol in [H1, H2] {
            assert_eq!(server.send(protocol, &Request::get("/")).await.expect(200), greeting);
        }
    }
}

#[tokio::test]
async fn connection_that_is_kept_gets_the_new_generation() {
    let server = serve_component("hello").await;
    let mut client = crate::harness::Http1::connect(server.address()).await;
    assert_eq!(client.ask(&Request::get("/")).await.expect(200), "Hello, world!\n");
    assert_serves(&server.deploy("plain-p3").await, 2);
    assert_eq!(client.ask(&Request::get("/")).await.expect(200), "plain-p3\n");
}

both!("longpoll", "longpoll-p2": parked_polls_are_told_that_they_are_replaced);

async fn parked_polls_are_told_that_they_are_replaced(name: &str) {
    const POLLS: usize = 30;
    let server = serve_component(name).await;
    let mut parked = Vec::new();
    for number in 0..POLLS {
        let request = Request::get(&format!("/poll/q{number}?wait=60"));
        parked.push(server.open(if number % 2 == 0 { H1 } else { H2 }, &request).await);
    }
    server.get("/poll/overtaker?wait=0").await.expect(204);
    let other = if name == "longpoll" { "longpoll-p2" } else { "longpoll" };
    assert_serves(&server.deploy(other).await, 2);
    for poll in parked {
        poll.answer().await.expect(204);
    }
}

#[tokio::test]
async fn events_pass_over_to_the_new_generation() {
    let server = serve_component("longpoll").await;
    server.send(H1, &Request::post("/push/q", "before")).await.expect(202);
    assert_serves(&server.deploy("longpoll-p2").await, 2);
    assert_eq!(server.get("/poll/q?wait=5").await.expect(200), "before");
    let waiting = server.park(H2, &Request::get("/poll/q?wait=60")).await;
    server.send(H1, &Request::post("/push/q", "after")).await.expect(202);
    assert_eq!(waiting.answer().await.expect(200), "after");
}

#[tokio::test]
async fn event_of_a_replaced_answer_that_breaks_off_goes_back() {
    let server = Server::operated("component = '{faulty}'\ndrain_timeout = '300ms'\n").await;
    for protocol in [H1, H2] {
        server.send(H1, &Request::post("/push/q", "an event")).await.expect(204);
        let mut holding = server.open(protocol, &Request::get("/take-hold/q")).await;
        holding.head().await;
        assert_eq!(holding.chunk().await.unwrap().unwrap(), "an e");
        let generation = if protocol == H1 { 2 } else { 4 };
        assert_serves(&server.deploy("longpoll").await, generation);
        // However it ends: it was half of the event.
        while let Ok(Some(_)) = holding.chunk().await {}
        let answer = server.get("/poll/q?wait=5").await;
        assert_eq!(answer.expect(200), "an event");
        assert_eq!(answer.header("maybe-delivered"), Some("true"));
        assert_serves(&server.roll_back().await, generation + 1);
    }
}

#[tokio::test]
async fn guest_that_does_not_listen_has_its_time_to_end() {
    let server = Server::operated("component = '{plain-wait}'\ndrain_timeout = '300ms'\n").await;
    let waiting =
        [server.open(H1, &Request::get("/wait")).await, server.open(H2, &Request::get("/wait")).await];
    server.get("/").await.expect(200);
    assert_serves(&server.deploy("hello").await, 2);
    for waiting in waiting {
        let answer = waiting.answer().await;
        answer.expect(503);
        assert_eq!(answer.header("retry-after"), Some("0"));
    }
}

#[tokio::test]
async fn who_waits_for_a_deploy_waits_for_the_old_requests_too() {
    let server = Server::operated("component = '{plain-wait}'\ndrain_timeout = '2s'\n").await;
    let waiting = server.open(H1, &Request::get("/wait")).await;
    server.get("/").await.expect(200);
    let next = component("hello");
    let output = server.operate(&["deploy", next.to_str().unwrap(), "--app", "app", "--wait"]).await;
    assert_serves(&output, 2);
    let generations = server.generations().await;
    assert_eq!(
        (&generations[1]["state"], &generations[1]["requests"]["running"]),
        (&"previous".into(), &0.into())
    );
    waiting.answer().await.expect(503);
}

#[tokio::test]
async fn request_of_the_old_generation_goes_on_while_the_new_one_serves() {
    let server = Server::operated("component = '{plain-wait}'\ndrain_timeout = '1h'\n").await;
    let mut waiting = server.open(H1, &Request::get("/wait")).await;
    server.get("/").await.expect(200);
    assert_serves(&server.deploy("hello").await, 2);
    server.get("/").await.expect(200);
    assert!(timeout(ABSENCE, waiting.try_answer()).await.is_err(), "it has time");
}

#[tokio::test]
async fn generation_before_serves_again() {
    let server = serve_component("hello").await;
    assert_refused(&server.roll_back().await, &["no previous generation"]);
    assert_serves(&server.deploy("plain-p3").await, 2);
    let output = server.roll_back().await;
    assert_serves(&output, 3);
    assert!(text(&output.stdout).contains("hello.wasm"), "{output:?}");
    assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
    // And the other way round.
    assert_serves(&server.roll_back().await, 4);
    assert_eq!(server.get("/").await.expect(200), "plain-p3\n");
}

#[tokio::test]
async fn rollback_passes_over_a_generation_that_has_not_proven_itself() {
    let server = serve_component("hello").await;
    assert_serves(&server.deploy("faulty").await, 2);
    assert_serves(&server.deploy("plain-p3").await, 3);
    assert_serves(&server.roll_back().await, 4);
    assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
}

#[tokio::test]
async fn deadline_of_a_replaced_request_stays() {
    let server = Server::with_config(&format!(
        "{ADMIN}[apps.app]\ncomponent = '{{plain-wait}}'\ndrain_timeout = '1h'\n[[routes]]\napp = 'app'\n\
         deadline = '1s'\ngrace = '100ms'\n"
    ))
    .await;
    let waiting = server.open(H1, &Request::get("/wait")).await;
    server.get("/").await.expect(200);
    assert_serves(&server.deploy("hello").await, 2);
    waiting.answer().await.expect(503);
}

#[tokio::test]
async fn same_component_is_not_deployed_again() {
    let server = serve_component("hello").await;
    let waiting = serve_component("longpoll").await;
    let parked = waiting.park(H1, &Request::get("/poll/q?wait=60")).await;
    for (server, name) in [(&server, "hello"), (&waiting, "longpoll")] {
        let output = server.deploy(name).await;
        assert!(text(&output.stdout).contains("generation 1 already has this component"), "{output:?}");
    }
    waiting.send(H1, &Request::post("/push/q", "an event")).await.expect(202);
    assert_eq!(parked.answer().await.expect(200), "an event");
}

/// A handler with this in its module.
fn handler_with(module: &str) -> Vec<u8> {
    wat(&HANDLER.replace("MODULE", module))
}

const HANDLER: &str = r#"(component
    (import "wasi:http/types@0.2.0" (instance $types
        (export "incoming-request" (type (sub resource)))
        (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $out))
    (core module $module
        MODULE
        (func (export "handle") (param i32 i32)))
    (core instance $instance (instantiate $module))
    (func $handle (param "request" (own $request)) (param "response-out" (own $out))
        (canon lift (core func $instance "handle")))
    (instance $handler (export "handle" (func $handle)))
    (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

/// It traps when it starts.
const TRAPS: &str = "(func $start unreachable) (start $start)";

/// It wants more memory than it may have when it starts, and traps when it does not get it.
const GROWS: &str = "(memory 1) (start $start)
    (func $start (loop (br_if 0 (i32.ne (memory.grow (i32.const 100)) (i32.const -1)))) unreachable)";

#[tokio::test]
async fn bad_component_is_refused_and_the_old_one_serves_on() {
    let server = serve_component("hello").await;
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(component("longpoll")).unwrap();
    for (name, contents, reasons) in [
        ("garbage.wasm", b"no component".to_vec(), &["not a WebAssembly component"][..]),
        ("core.wasm", wat("(module)"), &["core module"]),
        ("torn.wasm", whole[..whole.len() / 2].to_vec(), &["does not compile"]),
        ("import.wasm", wat(MISSING_IMPORT), &["acme:thing/api"]),
        ("world.wasm", wat("(component)"), &["handles no requests"]),
        ("start.wasm", handler_with(TRAPS), &["cannot start an instance", "unreachable"]),
        (
            "large.wasm",
            handler_with("(memory 20000)"),
            &["cannot start an instance", "20000 pages", "instances.max_memory"],
        ),
        ("grows.wasm", handler_with(GROWS), &["cannot start an instance", "unreachable"]),
    ] {
        let output = server.deploy_file(&file(&folder, name, contents)).await;
        assert_refused(&output, reasons);
        assert_eq!(server.get("/").await.expect(200), "Hello, world!\n", "{name}");
    }
    server.log.line(&["generation 9 is refused", "cannot start an instance"]).await;
    // What is refused does not stand in the way.
    assert_serves(&server.deploy("plain-p3").await, 10);
}

#[tokio::test]
async fn generation_that_fails_its_probe_does_not_serve() {
    let server =
        Server::operated("component = '{faulty}'\nprobe = { path = '/ok', timeout = '500ms' }\n").await;
    assert_refused(
        &server.deploy("longpoll").await,
        &["the probe failed", "GET /ok responded with 404, not 200"],
    );
    server.get("/ok").await.expect(200);
    for (probe, reason) in [("/panic", "the guest trapped"), ("/hang", "did not respond within 500ms")] {
        let app = format!("component = '{{hello}}'\nprobe = {{ path = '{probe}', timeout = '500ms' }}\n");
        let server = Server::operated(&app).await;
        assert_refused(&server.deploy("faulty").await, &["the probe failed", reason]);
        assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
    }
}

#[tokio::test]
async fn probe_that_takes_an_event_leaves_it_there() {
    let probe = "probe = { path = '/poll/q?wait=5' }\n";
    let server = Server::operated(&format!("component = '{{longpoll}}'\n{probe}")).await;
    server.send(H1, &Request::post("/push/q", "an event")).await.expect(202);
    assert_serves(&server.deploy("longpoll-p2").await, 2);
    let answer = server.get("/poll/q?wait=5").await;
    assert_eq!(answer.expect(200), "an event");
    assert_eq!(answer.header("maybe-delivered"), None);
}

#[tokio::test]
async fn unknown_app_is_named_with_those_that_there_are() {
    let server = serve_component("hello").await;
    let file = component("plain-p3");
    let output = server.operate(&["deploy", file.to_str().unwrap(), "--app", "other"]).await;
    assert_refused(&output, &["unknown app `other`", "`app`"]);
    assert_refused(&server.operate(&["rollback", "other"]).await, &["unknown app `other`", "`app`"]);
}

#[tokio::test]
async fn nobody_listening_is_said_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let admin = format!("unix:{}", folder.path().join("none.sock").display());
    let file = component("hello");
    let output = linger(&["deploy", file.to_str().unwrap(), "--app", "app", "--admin", &admin]);
    assert_refused(&output, &["cannot reach the admin listener", "--admin"]);
}

#[tokio::test]
async fn component_beyond_the_limit_is_refused() {
    let server = Server::with_config(
        "[admin]\nlisten = 'unix:admin.sock'\nmax_component_size = '10KiB'\n[apps.app]\ncomponent = '{hello}'\n",
    )
    .await;
    assert_refused(&server.deploy("plain-p3").await, &["the limit is 10", "max_component_size"]);
    server.get("/").await.expect(200);
}

#[tokio::test]
async fn socket_is_its_owners_alone_and_goes_with_the_server() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut server = serve_component("hello").await;
    let socket = server.folder().join("admin.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    server.signal(rustix::process::Signal::TERM);
    assert!(server.exit().await.success());
    assert!(!socket.exists());
}

#[tokio::test]
async fn without_its_token_the_admin_listener_does_nothing() {
    const TOKEN: &str = "0123456789abcdef";
    let server = Server::with_config(&format!(
        "[admin]\nlisten = '127.0.0.1:0'\ntoken = '{TOKEN}'\n[apps.app]\ncomponent = '{{hello}}'\n"
    ))
    .await;
    let address = server.admin_address().await.to_string();
    let (admin, next) = (address.clone(), component("plain-p3"));
    let ask = async |authorization: Option<&str>, more: &[(&str, &str)]| {
        let mut request = Request::get("/apps");
        for (name, value) in authorization.map(|value| ("authorization", value)).iter().chain(more) {
            request = request.header(name, value);
        }
        crate::harness::Http1::connect(admin.parse().unwrap()).await.ask(&request).await
    };
    for wrong in [None, Some("Bearer 0123456789abcdee"), Some("Basic 0123456789abcdef")] {
        let answer = ask(wrong, &[]).await;
        answer.expect(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let right = format!("Bearer {TOKEN}");
    ask(Some(&right), &[("origin", "http://localhost")]).await.expect(403);
    assert!(ask(Some(&right), &[]).await.expect(200).contains("\"state\":\"current\""));
    // The command line says the same.
    let folder = tempfile::tempdir().unwrap();
    for (token, serves) in [("another one, quite long", false), (TOKEN, true)] {
        let token = file(&folder, "token", format!("{token}\n"));
        let arguments: Vec<_> = ["deploy", next.to_str().unwrap(), "--app", "app", "--admin", &address]
            .into_iter()
            .chain(["--token-file", token.to_str().unwrap()])
            .map(str::to_owned)
            .collect();
        let output = tokio::task::spawn_blocking(move || linger(&arguments)).await.unwrap();
        if serves {
            assert_serves(&output, 2);
        } else {
            assert_refused(&output, &["authorization: Bearer TOKEN"]);
        }
    }
}

#[tokio::test]
async fn admin_listener_for_others_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let config = crate::harness::write_config(
        folder.path(),
        "[admin]\nlisten = '0.0.0.0:0'\n[apps.app]\ncomponent = '{hello}'\n",
    );
    assert_refused(&serve_in_vain(&config, &[]), &["admin", "set a `token`", "127.0.0.1"]);
}

#[tokio::test]
async fn generation_of_which_too_many_requests_fail_is_taken_back() {
    const ALLOWED: f64 = 0.05;
    let server = Server::operated(&format!(
        "component = '{{hello}}'\nrollback = {{ window = '1m', max_failed = {ALLOWED}, min_requests = 20 }}\n"
    ))
    .await;
    assert_serves(&server.deploy("faulty").await, 2);
    let (mut sent, mut failed) = (0, 0);
    // The one before knows no paths: all of them greet.
    while server.get("/ok").await.expect(200) != "Hello, world!\n" {
        sent += 1;
        // A trap on every tenth request.
        if sent % 10 == 0 {
            failed += usize::from(server.get("/panic").await.status == 500);
        }
        assert!(sent < 1_000, "it serves on");
    }
    assert!(failed <= 4, "{failed} of {sent}");
    server.log.line(&["generation 2 is rolled back", "requests failed", "generation 3 serves"]).await;
    assert_eq!(server.get("/panic").await.expect(200), "Hello, world!\n");
    assert_refused(&server.roll_back().await, &["no previous generation"]);
    // Whoever insists may have it.
    assert_serves(&server.deploy("faulty").await, 4);
}

#[tokio::test]
async fn generation_that_does_not_answer_its_probe_any_more_is_taken_back() {
    let probe = "probe = { path = '/poll/probe?wait=0', status = 204, interval = '100ms' }\n";
    let server = Server::operated(&format!("component = '{{longpoll}}'\n{probe}")).await;
    assert_serves(&server.deploy("longpoll-p2").await, 2);
    // From now on the probe finds an event.
    server.send(H1, &Request::post("/push/probe", "an event")).await.expect(202);
    server
        .log
        .line(&["generation 2: the probe failed: GET /poll/probe?wait=0 responded with 200, not 204"])
        .await;
    server.log.line(&["generation 2 is rolled back", "its probe fails", "generation 3 serves"]).await;
    // That one has proven itself, so nobody asks it.
    assert_eq!(server.generations().await[0]["state"], "current");
    let answer = server.get("/poll/probe?wait=5").await;
    assert_eq!(answer.expect(200), "an event");
}

#[tokio::test]
async fn probe_that_finds_no_room_says_nothing() {
    let server = Server::operated(
        "component = '{longpoll}'\ninstances = { max = 1, max_requests = 1, queue_timeout = '3s' }\n\
         probe = { path = '/poll/probe?wait=0', status = 204, interval = '100ms', timeout = '200ms' }\n",
    )
    .await;
    assert_serves(&server.deploy("longpoll-p2").await, 2);
    let parked = server.open(H1, &Request::get("/poll/q?wait=60")).await;
    eventually("it waits", async || {
        (server.generations().await[0]["requests"]["running"] == 1).then_some(())
    })
    .await;
    // Meanwhile it is probed several times, in vain.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(server.generations().await[0]["state"], "current");
    drop(parked);
}

#[tokio::test]
async fn generation_that_fails_is_taken_back_while_another_is_tried() {
    let server = Server::operated(
        "component = '{hello}'\nprobe = { path = '/ok', timeout = '20s' }\n\
         rollback = { window = '1m', max_failed = 0.1, min_requests = 5 }\n",
    )
    .await;
    assert_serves(&server.deploy("faulty").await, 2);
    let folder = tempfile::tempdir().unwrap();
    let slow = file(&folder, "slow.wasm", hanging());
    let deploy = server.deploy_file(&slow);
    let failing = async {
        eventually("the other one is probed", async || {
            (server.generations().await[0]["state"] == "probing").then_some(())
        })
        .await;
        for _ in 0..10 {
            server.get("/panic").await;
        }
        server.log.line(&["generation 2 is rolled back"]).await;
        assert_eq!(server.get("/panic").await.expect(200), "Hello, world!\n");
    };
    tokio::select! {
        () = failing => {}
        output = deploy => panic!("it ends too soon: {output:?}"),
    }
}

/// A handler that never answers.
fn hanging() -> Vec<u8> {
    wat(&HANDLER.replace("MODULE", "").replace("(param i32 i32))", "(param i32 i32) (loop br 0))"))
}

#[tokio::test]
async fn what_serves_is_never_forgotten() {
    let server = serve_component("hello").await;
    server.deploy_canary("plain-p3", "50%").await;
    let folder = tempfile::tempdir().unwrap();
    let garbage = file(&folder, "garbage.wasm", "no component");
    for _ in 0..25 {
        assert!(!server.deploy_file(&garbage).await.status.success());
    }
    let states: Vec<_> =
        server.generations().await.iter().map(|generation| generation["state"].clone()).collect();
    assert!(states.contains(&"canary".into()) && states.contains(&"current".into()), "{states:?}");
    assert_serves(&server.operate(&["promote", "app"]).await, 2);
}

#[tokio::test]
async fn two_deploys_at_a_time_end_one_after_the_other_or_not_at_all() {
    let server =
        Server::operated("component = '{hello}'\nprobe = { path = '/hang', timeout = '2s' }\n").await;
    // One that takes its time, since its probe hangs.
    let slow = server.deploy("faulty");
    let fast = async {
        eventually("the probe is under way", async || {
            (server.generations().await[0]["state"] == "probing").then_some(())
        })
        .await;
        server.deploy("plain-p3").await
    };
    let (slow, fast) = tokio::join!(slow, fast);
    assert_refused(&slow, &["did not respond within 2s"]);
    assert_refused(&fast, &["another deploy of this app is running"]);
    assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
}
