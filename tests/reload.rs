//! Reloads: a changed configuration counts from the next request on, and a wrong one changes nothing.

use std::process::Output;
use std::time::Duration;

use crate::harness::{
    ABSENCE, ADMIN, H1, H2, Http1, KeptConnection, Request, Server, assert_refused, assert_serves,
    eventually, put, text, write_config,
};

/// Serves with an admin listener.
async fn serve(config: &str) -> Server {
    Server::with_config(&whole(config)).await
}

fn whole(config: &str) -> String {
    format!("{ADMIN}{config}")
}

/// Writes another configuration in the place of the first.
fn write(server: &Server, config: &str) {
    write_config(server.folder(), &whole(config));
}

async fn reload(server: &Server, config: &str) -> Output {
    write(server, config);
    server.operate(&["reload"]).await
}

#[track_caller]
fn assert_said(output: &Output, lines: &[&str]) {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), lines);
}

const ONE: &str = "[apps.one]\ncomponent = '{hello}'\n";
const TWO: &str = "[apps.two]\ncomponent = '{plain-p3}'\n";
const ROUTES: &str = "[[routes]]\napp = 'one'\n[[routes]]\napp = 'two'\npath = '/two'\n";

#[tokio::test]
async fn connection_that_is_kept_has_the_new_routes() {
    let server = serve(&format!("{ONE}[[routes]]\napp = 'one'\npath = '/one'\n")).await;
    let mut clients = [
        KeptConnection::connect(H1, server.address()).await,
        KeptConnection::connect(H2, server.address()).await,
    ];
    for client in &mut clients {
        client.ask(&Request::get("/one")).await.expect(200);
        client.ask(&Request::get("/two")).await.expect(404);
    }
    let output = reload(&server, &format!("{ONE}{TWO}{ROUTES}")).await;
    assert_said(&output, &["apps.two: added", "routes: changed"]);
    for client in &mut clients {
        assert_eq!(client.ask(&Request::get("/two")).await.expect(200), "plain-p3\n");
        assert_eq!(client.ask(&Request::get("/")).await.expect(200), "Hello, world!\n");
    }
    assert_said(&server.operate(&["reload"]).await, &["nothing has changed"]);
}

#[tokio::test]
async fn hangup_has_it_read_again() {
    let server = serve(ONE).await;
    write(&server, &format!("{ONE}{TWO}{ROUTES}"));
    server.signal(rustix::process::Signal::HUP);
    server.log.line(&["configuration reloaded", "apps.two: added"]).await;
    assert_eq!(server.get("/two").await.expect(200), "plain-p3\n");
    write(&server, "[apps.one]\ncomponent = 'none.wasm'\n");
    server.signal(rustix::process::Signal::HUP);
    server.log.line(&["the configuration is not reloaded", "apps.one", "none.wasm"]).await;
    assert_eq!(server.get("/two").await.expect(200), "plain-p3\n");
}

#[tokio::test]
async fn hangup_stops_a_server_without_a_configuration() {
    let mut server = Server::start("longpoll").await;
    let waiting = server.park(H1, &Request::get("/poll/q?wait=60")).await;
    server.signal(rustix::process::Signal::HUP);
    waiting.answer().await.expect(503);
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn app_that_is_no_more_tells_its_polls() {
    let app = "[apps.app]\ncomponent = '{longpoll}'\n";
    let routes = "[[routes]]\napp = 'one'\npath = '/one'\n[[routes]]\napp = 'app'\n";
    let server = serve(&format!("{ONE}{app}{routes}")).await;
    let waiting = [
        server.park(H1, &Request::get("/poll/q?wait=60")).await,
        server.park(H2, &Request::get("/poll/q?wait=60")).await,
    ];
    let output = reload(&server, &format!("{ONE}[[routes]]\napp = 'one'\npath = '/one'\n")).await;
    assert_said(&output, &["apps.app: removed", "routes: changed"]);
    for waiting in waiting {
        waiting.answer().await.expect(204);
    }
    server.get("/poll/q?wait=60").await.expect(404);
    server.get("/one").await.expect(200);
    assert_refused(&server.roll_back().await, &["unknown app `app`", "`one`"]);
}

#[tokio::test]
async fn guests_see_what_they_are_granted_now() {
    let app = |grants: &str| format!("[apps.app]\ncomponent = '{{probe}}'\n{grants}");
    let server = serve(&app("env = { COLOUR = 'red' }\n")).await;
    assert_eq!(server.get("/env").await.expect(200), "COLOUR=red\n");
    let output = reload(&server, &app("env = { COLOUR = 'blue' }\n")).await;
    assert_said(&output, &["apps.app: generation 2 serves all requests"]);
    assert_eq!(server.get("/env").await.expect(200), "COLOUR=blue\n");
    // A rollback is one of the grants too.
    assert_serves(&server.roll_back().await, 3);
    assert_eq!(server.get("/env").await.expect(200), "COLOUR=red\n");
}

#[tokio::test]
async fn component_that_was_deployed_since_stays() {
    let server = Server::operated("component = '{hello}'\n").await;
    assert_serves(&server.deploy("plain-p3").await, 2);
    let app = "[apps.app]\ncomponent = '{hello}'\nenv = { A = 'b' }\n";
    assert_said(&reload(&server, app).await, &["apps.app: generation 3 serves all requests"]);
    assert_eq!(server.get("/").await.expect(200), "plain-p3\n");
    // Another file is another component.
    let app = "[apps.app]\ncomponent = '{plain-p2}'\nenv = { A = 'b' }\n";
    assert_said(&reload(&server, app).await, &["apps.app: generation 4 serves all requests"]);
    assert_eq!(server.get("/").await.expect(200), "plain-p2\n");
}

#[tokio::test]
async fn parked_polls_are_told_when_their_guests_change_and_only_then() {
    let app = |keys: &str| format!("[apps.app]\ncomponent = '{{longpoll}}'\n{keys}");
    let server = serve(&app("")).await;
    let waiting = server.park(H1, &Request::get("/poll/q?wait=60")).await;
    let output = reload(&server, &app("drain_timeout = '9s'\nmax_requests = 7\n")).await;
    assert_said(&output, &["apps.app: settings changed"]);
    let output = reload(
        &server,
        &format!("limits.max_requests = 99\n{}", app(""))
            .replace("limits.max_requests = 99\n", "[limits]\nmax_requests = 99\n"),
    )
    .await;
    assert_said(&output, &["apps.app: settings changed", "limits: changed"]);
    server.send(H1, &Request::post("/push/q", "an event")).await.expect(202);
    assert_eq!(waiting.answer().await.expect(200), "an event");
    let waiting = server.park(H2, &Request::get("/poll/q?wait=60")).await;
    reload(&server, &app("instances.max = 3\n")).await;
    waiting.answer().await.expect(204);
}

#[tokio::test]
async fn limits_count_from_the_next_request_on() {
    let app = |most: usize| format!("[apps.app]\ncomponent = '{{longpoll}}'\nmax_requests = {most}\n");
    let server = serve(&app(2)).await;
    let poll = Request::get("/poll/q?wait=60");
    let _waiting = [server.open(H1, &poll).await, server.open(H1, &poll).await];
    eventually("both wait", async || {
        (server.generations().await[0]["requests"]["running"] == 2).then_some(())
    })
    .await;
    server.get("/poll/q?wait=0").await.expect(503);
    assert!(reload(&server, &app(4)).await.status.success());
    let _third = server.park(H1, &poll).await;
    // A lower one sends nobody away.
    assert!(reload(&server, &app(1)).await.status.success());
    server.get("/poll/q?wait=0").await.expect(503);
}

#[tokio::test]
async fn connections_that_wait_have_the_room_of_a_higher_limit() {
    let config =
        |most: usize| format!("[limits]\nmax_connections = {most}\nmax_connections_per_client = 9\n{ONE}");
    let server = serve(&config(1)).await;
    let mut first = KeptConnection::connect(H1, server.address()).await;
    first.ask(&Request::get("/")).await.expect(200);
    let mut second = Http1::open(server.address(), &Request::get("/")).await;
    assert!(tokio::time::timeout(ABSENCE, second.try_answer()).await.is_err(), "there is no room");
    assert_said(&reload(&server, &config(2)).await, &["limits: changed"]);
    second.answer().await.expect(200);
    first.ask(&Request::get("/")).await.expect(200);
}

#[tokio::test]
async fn wrong_configuration_changes_nothing() {
    let right = format!("{ONE}{TWO}{ROUTES}");
    let server = serve(&right).await;
    let garbage = server.folder().join("garbage.wasm");
    std::fs::write(garbage, "no component").unwrap();
    let third = "[[routes]]\napp = 'three'\npath = '/three'\n";
    for (wrong, reasons) in [
        ("[apps".to_owned(), &["linger.toml:3"][..]),
        (format!("{right}[limit]\n"), &["linger.toml", "limit"]),
        (format!("{ONE}{ROUTES}"), &["routes[1]", "unknown app `two`"]),
        (format!("{right}[apps.three]\ncomponent = 'none.wasm'\n{third}"), &["apps.three", "none.wasm"]),
        (
            format!("{right}[apps.three]\ncomponent = 'garbage.wasm'\n{third}"),
            &["apps.three", "not a WebAssembly component"],
        ),
        (
            format!("{right}[apps.three]\ncomponent = '{{faulty}}'\nprobe = {{ path = '/panic' }}\n{third}"),
            &["apps.three", "the probe failed", "the guest trapped"],
        ),
        (
            right.replace("'{plain-p3}'\n", "'{plain-p3}'\ndirs = [{ host = 'none', guest = '/' }]\n"),
            &["apps.two", "none"],
        ),
    ] {
        assert_refused(&reload(&server, &wrong).await, reasons);
        assert_eq!(server.get("/two").await.expect(200), "plain-p3\n");
        server.get("/three").await.expect(200);
    }
    let states = server.generations().await;
    assert_eq!(states.len(), 1, "{states:?}");
    assert_said(&reload(&server, &right).await, &["nothing has changed"]);
}

#[tokio::test]
async fn reload_after_a_rollback_gives_what_the_configuration_says() {
    let app =
        |colour: &str| format!("[apps.app]\ncomponent = '{{probe}}'\nenv = {{ COLOUR = '{colour}' }}\n");
    let server = serve(&app("red")).await;
    reload(&server, &app("blue")).await;
    assert_serves(&server.roll_back().await, 3);
    assert_eq!(server.get("/env").await.expect(200), "COLOUR=red\n");
    assert_said(&server.operate(&["reload"]).await, &["apps.app: generation 4 serves all requests"]);
    assert_eq!(server.get("/env").await.expect(200), "COLOUR=blue\n");
}

#[tokio::test]
async fn file_that_was_replaced_is_read_unless_something_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.wasm");
    put(&file, "hello");
    let config = tempfile::tempdir().unwrap();
    let text = format!("{ADMIN}[apps.app]\ncomponent = '{}'\n", file.display());
    let server = Server::in_folder(config, &text).await;
    put(&file, "plain-p3");
    assert_said(&server.operate(&["reload"]).await, &["apps.app: generation 2 serves all requests"]);
    assert_eq!(server.get("/").await.expect(200), "plain-p3\n");
    assert_serves(&server.deploy("plain-p2").await, 3);
    put(&file, "hello");
    assert_said(&server.operate(&["reload"]).await, &["nothing has changed"]);
    assert_eq!(server.get("/").await.expect(200), "plain-p2\n");
}

#[tokio::test]
async fn reload_does_not_bring_back_what_was_rolled_back_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.wasm");
    put(&file, "hello");
    let app = format!("[apps.app]\ncomponent = '{}'\n", file.display());
    let server = serve(&app).await;
    put(&file, "plain-p3");
    assert_serves(&server.deploy_file(&file).await, 2);
    assert_serves(&server.roll_back().await, 3);
    let output = reload(&server, &format!("[limits]\nmax_requests = 77\n{app}")).await;
    assert_said(&output, &["limits: changed"]);
    assert_eq!(server.get("/").await.expect(200), "Hello, world!\n");
    // Whoever insists may have it.
    assert_serves(&server.deploy_file(&file).await, 4);
}

#[tokio::test]
async fn app_that_is_no_more_is_not_kept_by_connections() {
    let both = format!("{ONE}{TWO}{ROUTES}");
    let server = serve(&both).await;
    let mut kept = KeptConnection::connect(H1, server.address()).await;
    kept.ask(&Request::get("/two")).await.expect(200);
    // Compiled code is executable, and of no file.
    let is_code = |line: &&str| line.contains(" r-xp ") && line.contains(" 00:00 0");
    let maps = format!("/proc/{}/maps", server.id());
    let mappings = || std::fs::read_to_string(&maps).unwrap().lines().filter(is_code).count();
    let before = mappings();
    for _ in 0..10 {
        assert!(reload(&server, ONE).await.status.success());
        kept.ask(&Request::get("/")).await.expect(200);
        assert!(reload(&server, &both).await.status.success());
        let mut other = KeptConnection::connect(H2, server.address()).await;
        other.ask(&Request::get("/two")).await.expect(200);
    }
    eventually("their code has gone", async || (mappings() < before + 5).then_some(())).await;
}

#[tokio::test]
async fn what_is_read_only_at_the_start_is_named_each_time() {
    let server = serve(ONE).await;
    let config = format!("threads = 1\n[queues]\nmax_events = 7\n{ONE}");
    // Keys of the whole come before tables.
    write_config(server.folder(), &format!("threads = 1\n{}", whole(&config.replace("threads = 1\n", ""))));
    for _ in 0..2 {
        let said = server.operate(&["reload"]).await;
        let next_start = |key: &str| format!("{key}: changed, applies after a restart");
        let lines = [next_start("threads"), next_start("queues")];
        // On a machine with one core that is what there was.
        let lines =
            if std::thread::available_parallelism().unwrap().get() == 1 { &lines[1..] } else { &lines[..] };
        assert_said(&said, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn server_without_a_configuration_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let admin = format!("unix:{}", folder.path().join("admin.sock").display());
    let server = Server::with_options("hello", &["--admin", &admin]).await;
    let output =
        tokio::task::spawn_blocking(move || crate::harness::linger(&["reload", "--admin", &admin])).await;
    assert_refused(&output.unwrap(), &["started without a configuration"]);
    server.get("/").await.expect(200);
}

#[tokio::test]
async fn reloads_under_load_fail_no_request() {
    let config = |round: usize| format!("{ONE}env = {{ ROUND = '{round}' }}\n{TWO}{ROUTES}");
    let server = serve(&config(0)).await;
    let (stop, stopped) = tokio::sync::watch::channel(());
    let mut clients = tokio::task::JoinSet::new();
    for protocol in [H1, H2, H1, H2] {
        let (address, mut stopped) = (server.address(), stopped.clone());
        clients.spawn(async move {
            let mut client = KeptConnection::connect(protocol, address).await;
            let mut answered = 0;
            loop {
                for (target, greeting) in [("/", "Hello, world!\n"), ("/two", "plain-p3\n")] {
                    assert_eq!(client.ask(&Request::get(target)).await.expect(200), greeting);
                    answered += 1;
                }
                if tokio::time::timeout(Duration::ZERO, stopped.changed()).await.is_ok() {
                    return answered;
                }
            }
        });
    }
    for round in 1..=20 {
        assert_said(
            &reload(&server, &config(round)).await,
            &[&format!("apps.one: generation {} serves all requests", round + 1)],
        );
    }
    drop(stop);
    while let Some(answered) = clients.join_next().await {
        assert!(answered.unwrap() > 20);
    }
}
