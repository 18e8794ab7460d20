//! A guest fails: its client is told so, the log says why, and nobody else notices.

use crate::harness::{
    ClientLeave, H1, H2, Http1, Protocol, Request, Server, both, combinations, eventually, places,
};

combinations!("faulty", "faulty-p2":
    trap_is_500_and_the_server_goes_on,
    trap_after_the_head_cuts_the_response,
    no_response_is_500,
);

both!("faulty", "faulty-p2":
    trap_is_logged_with_the_app_and_the_backtrace,
    spinning_guest_lets_other_apps_answer,
    spinning_guest_is_stopped_after_its_grace,
    spinning_guest_of_a_client_that_left_is_stopped,
);

both!("witness", "witness-p2": full_instances_are_503_with_retry_after);

async fn trap_is_500_and_the_server_goes_on(server: Server, protocol: Protocol) {
    for _ in 0..5 {
        let answer = server.send(protocol, &Request::get("/panic")).await;
        let id = answer.header("x-request-id").expect("an id").to_owned();
        assert_eq!(answer.expect(500), format!("the handler failed (request {id})\n"));
        server.log.line(&["request failed: the guest trapped", &format!("request={id}")]).await;
        assert_eq!(server.send(protocol, &Request::get("/ok")).await.expect(200), "ok\n");
    }
}

async fn trap_after_the_head_cuts_the_response(server: Server, protocol: Protocol) {
    let mut response = server.open(protocol, &Request::get("/panic-late")).await;
    assert_eq!(response.head().await.status, 200);
    assert_eq!(response.chunk().await.unwrap().unwrap(), "the first chunk\n");
    assert!(response.chunk().await.is_err(), "the response ended in order");
    assert_eq!(server.send(protocol, &Request::get("/ok")).await.expect(200), "ok\n");
}

async fn no_response_is_500(server: Server, protocol: Protocol) {
    let answer = server.send(protocol, &Request::get("/no-response")).await;
    let id = answer.header("x-request-id").expect("an id").to_owned();
    assert!(answer.expect(500).contains(&id));
    // What the guest says is for the log only.
    assert!(!answer.text().contains("deliberate"), "{}", answer.text());
    server.log.line(&["request failed", &format!("request={id}")]).await;
    assert_eq!(server.send(protocol, &Request::get("/ok")).await.expect(200), "ok\n");
}

async fn trap_is_logged_with_the_app_and_the_backtrace(faulty: &str) {
    let server = Server::start(faulty).await;
    let answer = server.get("/panic").await;
    answer.expect(500);
    let id = answer.header("x-request-id").unwrap();
    let app = format!("app=\"{faulty}\"");
    server.log.line(&["request failed", &app, &format!("request={id}")]).await;
    server.log.line(&["ERROR guest trapped: ", "wasm backtrace"]).await;
    // The same entry ends with the trap, and whose it is.
    server.log.line(&["wasm trap: ", "unreachable", &app, id]).await;
    // By name, not as numbers only.
    server.log.line(&[&faulty.replace('-', "_"), "!", "panic"]).await;
    // What the guest itself said of it.
    server.log.line(&["deliberate panic", &app]).await;
}

async fn spinning_guest_lets_other_apps_answer(faulty: &str) {
    let server = Server::with_config(&format!(
        "[apps.faulty]\ncomponent = '{{{faulty}}}'\n[apps.hello]\ncomponent = '{{hello}}'\n\
         [[routes]]\napp = 'hello'\n[[routes]]\napp = 'faulty'\npath = '/spin'\n"
    ))
    .await;
    // As many as the server has threads, and more.
    let threads = std::thread::available_parallelism().unwrap().get();
    let mut spinning = Vec::new();
    for _ in 0..2 * threads {
        spinning.push(server.open(H1, &Request::get("/spin")).await);
    }
    let mut client = Http1::connect(server.address()).await;
    for _ in 0..20 {
        client.ask(&Request::get("/?name=you")).await.expect(200);
        server.send(H2, &Request::get("/")).await.expect(200);
    }
}

async fn spinning_guest_is_stopped_after_its_grace(faulty: &str) {
    let server = Server::with_config(&spinner(faulty, "deadline = '300ms'")).await;
    let answer = server.get("/spin").await;
    answer.expect(504);
    assert!(answer.header("x-request-id").is_some());
    works_again(&server, "/ok").await;
}

async fn spinning_guest_of_a_client_that_left_is_stopped(faulty: &str) {
    let server = Server::with_config(&spinner(faulty, "")).await;
    for how in [ClientLeave::Close, ClientLeave::Reset] {
        let spinning = server.occupy(H1, "/spin", "/ok").await;
        drop(spinning.leave(how).await);
        works_again(&server, "/ok").await;
    }
}

/// There is room for a request again.
async fn works_again(server: &Server, target: &str) {
    eventually("the instance is free again", async || (server.get(target).await.status == 200).then_some(()))
        .await;
}

fn spinner(faulty: &str, deadline: &str) -> String {
    let places = places(faulty, 1);
    format!("[apps.app]\n{places}[[routes]]\napp = 'app'\ngrace = '300ms'\n{deadline}\n")
}

async fn full_instances_are_503_with_retry_after(witness: &str) {
    let server = Server::with_config(&format!(
        "[apps.app]\ncomponent = '{{{witness}}}'\ninstances.max = 2\ninstances.max_requests = 1\n"
    ))
    .await;
    let mut streams = Vec::new();
    for protocol in [H1, H2] {
        let mut stream = server.open(protocol, &Request::get("/stream/me")).await;
        assert_eq!(stream.head().await.status, 200);
        streams.push(stream);
    }
    let refused = server.get("/instance").await;
    refused.expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.header("x-request-id").is_some());
    drop(streams.remove(0).leave(ClientLeave::Close).await);
    works_again(&server, "/instance").await;
    // The other stream is still there.
    assert_eq!(streams[0].chunk().await.unwrap().unwrap(), "data: hi\n\n");
}
