//! Behind HAProxy as docs/listeners.md has it, which resets connections whose answer it has read whole; and behind nginx.

use std::collections::HashMap;

use crate::harness::{Answer, H1, Request, Server, TestProxy, both};

both!("longpoll", "longpoll-p2":
    event_that_haproxy_has_read_does_not_come_again,
    event_that_nginx_has_read_does_not_come_again,
    confirmation_by_haproxy_is_not_refused,
    confirmation_by_nginx_is_not_refused,
);

const EVENTS: usize = 200;

async fn serve(component: &str, queues: &str) -> Server {
    Server::with_config(&format!(
        "[[listeners]]\naddress = '127.0.0.1:0'\ntrusted_proxies = ['127.0.0.1']\n\
         [queues]\n{queues}\n[apps.app]\ncomponent = '{{{component}}}'\n"
    ))
    .await
}

const CLIENT: &str = "commit = 'client'\nlease = '60s'";

async fn event_that_haproxy_has_read_does_not_come_again(component: &str) {
    let server = serve(component, "").await;
    if let Some(proxy) = TestProxy::haproxy(server.address(), "").await {
        event_that_was_read_does_not_come_again(&server, &proxy).await;
    }
}

async fn event_that_nginx_has_read_does_not_come_again(component: &str) {
    let server = serve(component, "").await;
    if let Some(proxy) = TestProxy::nginx(server.address()).await {
        event_that_was_read_does_not_come_again(&server, &proxy).await;
    }
}

async fn confirmation_by_haproxy_is_not_refused(component: &str) {
    let server = serve(component, CLIENT).await;
    if let Some(proxy) = TestProxy::haproxy(server.address(), "").await {
        confirmation_is_not_refused(&server, &proxy).await;
    }
}

async fn confirmation_by_nginx_is_not_refused(component: &str) {
    let server = serve(component, CLIENT).await;
    if let Some(proxy) = TestProxy::nginx(server.address()).await {
        confirmation_is_not_refused(&server, &proxy).await;
    }
}

/// Clients that come one after the other, each with a connection of its own, and two that stay: then HAProxy has more
/// connections than it keeps.
async fn read_all(server: &Server, proxy: &TestProxy, mut read: impl AsyncFnMut(Answer)) {
    let mut staying = [proxy.connect().await, proxy.connect().await];
    for number in 0..EVENTS {
        let event = format!("event {number}");
        server.send(H1, &Request::post("/push/q", event)).await.expect(202);
        let request = Request::get("/poll/q?wait=30");
        let answer = match staying.get_mut(number % 4) {
            Some(client) => client.ask(&request).await,
            None => proxy.connect().await.ask(&request).await,
        };
        read(answer).await;
    }
}

async fn event_that_was_read_does_not_come_again(server: &Server, proxy: &TestProxy) {
    let mut seen = HashMap::<_, usize>::new();
    read_all(server, proxy, async |answer: Answer| {
        *seen.entry(answer.expect(200).to_owned()).or_default() += 1;
    })
    .await;
    server.get("/poll/q?wait=2").await.expect(204);
    let again: usize = seen.values().map(|count| count - 1).sum();
    assert_eq!((seen.len(), again), (EVENTS, 0));
}

async fn confirmation_is_not_refused(server: &Server, proxy: &TestProxy) {
    let (mut seen, mut refused) = (HashMap::<_, usize>::new(), 0);
    read_all(server, proxy, async |answer: Answer| {
        *seen.entry(answer.expect(200).to_owned()).or_default() += 1;
        let token = answer.header("linger-delivery").expect("a token");
        let confirm = Request::get("/nothing").header("linger-ack", token);
        let outcome = proxy.connect().await.ask(&confirm).await;
        refused += usize::from(outcome.header("linger-ack") != Some("committed"));
    })
    .await;
    server.get("/poll/q?wait=2").await.expect(204);
    let again: usize = seen.values().map(|count| count - 1).sum();
    assert_eq!((seen.len(), again, refused), (EVENTS, 0, 0));
}
