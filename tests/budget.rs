//! Answers that clients read slowly: what the host holds for them is no business of others.

use crate::harness::{ADMIN_TCP, Http1, Http2, Request, Server, both, eventually};

/// More than the kernel takes for a client that reads little, so that the host holds it.
const LARGE: usize = 6 << 20;

both! {
    "witness", "witness-p2":
    slow_readers_of_large_answers_harm_nobody,
    request_that_finds_all_instances_full_is_told_to_come_again,
}

fn config(component: &str, instances: usize, memory: &str) -> String {
    format!(
        "threads = 1\ndetection.client_timeout = 'none'\n{ADMIN_TCP}[apps.app]\ncomponent = '{{{component}}}'\ninstances.max = {instances}\n\
         instances.max_memory = '{memory}'\ninstances.queue_timeout = '200ms'\n"
    )
}

/// Asks for a large answer, and reads its head only. The status, and the client.
async fn slow_reader(server: &Server) -> (u16, Http1) {
    let mut client = Http1::connect_narrow(server.address()).await;
    client.send_request(&Request::get(&format!("/large/{LARGE}"))).await;
    let head = client.head().await;
    let status = head.status.as_u16();
    assert!(status == 200 || head.header("retry-after").is_some(), "{status}");
    (status, client)
}

/// All of them together hold far more than one instance may.
async fn slow_readers_of_large_answers_harm_nobody(component: &str) {
    const READERS: usize = 24;
    let server = Server::with_config(&config(component, 100, "64MiB")).await;
    let mut readers = Vec::new();
    for number in 0..READERS {
        let (status, client) = slow_reader(&server).await;
        assert_eq!(status, 200, "reader {number}");
        readers.push(client);
        server.get("/instance").await.expect(200);
    }
    for mut reader in readers {
        assert_eq!(reader.rest().await.unwrap().0.len(), LARGE);
    }
}

async fn request_that_finds_all_instances_full_is_told_to_come_again(component: &str) {
    let server = Server::with_config(&config(component, 2, "64MiB")).await;
    let mut readers = Vec::new();
    let refused = loop {
        let (status, client) = slow_reader(&server).await;
        match status {
            200 => readers.push(client),
            status => break status,
        }
        assert!(readers.len() < 100, "there is no bound");
    };
    assert_eq!(refused, 503);
    let refused = server.get("/instance").await;
    refused.expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let metrics = server.ask_admin("/metrics").await;
    assert!(metrics.expect(200).contains("linger_limits_reached_total{app=\"app\",limit=\"instances\"}"));
    // One who reads makes room, for one who waits in line.
    drop(readers);
    eventually("there is room again", async || (server.get("/instance").await.status == 200).then_some(()))
        .await;
}

/// They were all in the instance when it began to be full.
#[tokio::test]
async fn answers_that_have_no_room_are_no_fault_of_the_guest() {
    const ANSWER: usize = 5 << 20;
    let server = Server::with_config(&config("witness", 1, "16MiB")).await;
    let mut client = Http2::connect(server.address()).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(client.start(&Request::get(&format!("/large/{ANSWER}")), true).await);
    }
    let mut answered = 0;
    for stream in &mut streams {
        let head = stream.split().1.head().await;
        match head.status.as_u16() {
            200 => answered += 1,
            status => {
                assert_eq!(status, 503);
                assert_eq!(head.header("retry-after"), Some("1"));
            }
        }
    }
    assert!((1..=3).contains(&answered), "{answered}");
    let metrics = server.ask_admin("/metrics").await;
    let text = metrics.expect(200);
    assert!(!text.contains("linger_request_failures_total{"), "{text}");
    drop((streams, client));
    eventually("there is room again", async || {
        (server.get(&format!("/large/{LARGE}")).await.status == 200).then_some(())
    })
    .await;
}

/// Bodies that are being collected wait for room.
#[tokio::test]
async fn body_that_has_no_room_waits_for_it() {
    let server = Server::with_config(
        "threads = 1\n[apps.app]\ncomponent = '{whole}'\ninstances.max = 1\ninstances.max_memory = '4MiB'\n\
         instances.queue_timeout = '20s'\n",
    )
    .await;
    let size = 3 << 19;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Http1::connect(server.address()).await;
        client
            .send(format!("POST /body?2000000 HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n"))
            .await;
        client.send(vec![b'x'; size - 1]).await;
        clients.push(client);
    }
    for client in &mut clients {
        client.send("x").await;
        assert_eq!(client.answer().await.expect(200), size.to_string());
    }
}
