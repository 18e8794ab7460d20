//! How often an instance is used, and by how many at a time.

use std::collections::HashMap;

use crate::harness::{H1, Http1, Request, Server, both};

/// The instances that answered so many requests, one after the other on one connection, with how often each did.
async fn instances(more: &str, component: &str, requests: usize) -> HashMap<String, usize> {
    let server = Server::with_config(&format!("[apps.app]\ncomponent = '{{{component}}}'\n{more}")).await;
    let mut client = Http1::connect(server.address()).await;
    let mut used = HashMap::new();
    for _ in 0..requests {
        let answer = client.ask(&Request::get("/instance")).await;
        *used.entry(answer.expect(200).to_owned()).or_default() += 1;
    }
    used
}

both!("witness", "witness-p2": instance_is_used_as_often_as_it_may);

async fn instance_is_used_as_often_as_it_may(witness: &str) {
    let used = instances("instances.max_uses = 3\n", witness, 12).await;
    assert_eq!(used.len(), 4, "{used:?}");
    assert!(used.values().all(|&times| times == 3), "{used:?}");
}

#[tokio::test]
async fn instance_of_wasi_0_2_is_used_once_unless_it_may_more_often() {
    assert_eq!(instances("", "witness-p2", 5).await.len(), 5);
}

#[tokio::test]
async fn instance_of_wasi_0_3_is_used_again() {
    assert_eq!(instances("", "witness", 50).await.len(), 1);
}

#[tokio::test]
async fn trap_of_a_used_instance_is_not_the_next_ones_fault() {
    let server =
        Server::with_config("[apps.app]\ncomponent = '{faulty-p2}'\ninstances.max_uses = 100\n").await;
    let mut client = Http1::connect(server.address()).await;
    for _ in 0..5 {
        client.ask(&Request::get("/ok")).await.expect(200);
        // Its instance has served others, so it runs again, and traps by itself.
        client.ask(&Request::get("/panic")).await.expect(500);
    }
    assert_eq!(server.send(H1, &Request::get("/ok")).await.expect(200), "ok\n");
}

#[tokio::test]
async fn instance_that_wanted_too_much_memory_is_not_used_again() {
    let server =
        Server::with_config("[apps.app]\ncomponent = '{witness-p2}'\ninstances.max_uses = 100\n").await;
    let mut client = Http1::connect(server.address()).await;
    let mut ask = async |target| client.ask(&Request::get(target)).await.expect(200).to_owned();
    let first = ask("/instance").await;
    assert_eq!(ask("/greedy").await, first);
    assert_ne!(ask("/instance").await, first);
}

both!("witness", "witness-p2": instance_that_leaks_is_replaced_in_time);

async fn instance_that_leaks_is_replaced_in_time(witness: &str) {
    let limits = "instances.max_uses = 1000\ninstances.max_memory = '32MiB'\n";
    let server = Server::with_config(&format!("[apps.app]\ncomponent = '{{{witness}}}'\n{limits}")).await;
    let mut client = Http1::connect(server.address()).await;
    let mut used = HashMap::new();
    for _ in 0..60 {
        // A push, say, that no host makes again.
        let answer = client.ask(&Request::post("/leak", "")).await;
        *used.entry(answer.expect(200).to_owned()).or_insert(0) += 1;
    }
    // Each is used again, and none for as long as it could be by its uses.
    assert!((2..60).contains(&used.len()), "{used:?}");
}

#[tokio::test]
async fn threads_are_as_many_as_configured() {
    let server = Server::with_config("threads = 3\n[apps.app]\ncomponent = '{witness}'\n").await;
    let mut connections = Vec::new();
    let mut used = HashMap::new();
    for _ in 0..9 {
        let mut client = Http1::connect(server.address()).await;
        *used.entry(client.ask(&Request::get("/instance")).await.expect(200).to_owned()).or_insert(0) += 1;
        connections.push(client);
    }
    // Each has an instance of its own, and as many connections as the others.
    assert_eq!(used.len(), 3, "{used:?}");
    assert!(used.values().all(|&times| times == 3), "{used:?}");
}
