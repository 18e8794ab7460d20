//! Topics, as the examples `longpoll` and `longpoll-p2` and the fixtures have them.

use std::path::Path;

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::harness::{
    Answer, ClientLeave, H1, Http1, Protocol, Request, Server, both, combinations, eventually,
};

combinations!("longpoll", "longpoll-p2":
    follower_gets_every_event_by_its_cursor,
    follower_from_now_on_gets_what_comes_later,
    followers_all_get_the_same_event,
    bad_cursor_is_400_with_a_sentence,
    bad_topic_name_is_400_with_a_sentence,
);

both!("longpoll", "longpoll-p2":
    bytes_and_content_type_come_back_as_published,
    what_is_no_longer_kept_is_told,
    limits_of_topics_have_their_answers,
    cursor_outlives_a_kill,
    cursor_of_an_earlier_life_is_told,
    follower_that_leaves_makes_room,
);

both!("probe", "probe-p2":
    guest_sees_batches_and_errors,
);

async fn publish(server: &Server, topic: &str, data: &str) -> String {
    let request = Request::post(&format!("/publish/{topic}"), data.to_owned());
    server.send(H1, &request).await.expect(202).trim_end().to_owned()
}

async fn follow(server: &Server, protocol: Protocol, target: &str) -> Answer {
    server.send(protocol, &Request::get(target)).await
}

fn cursor(answer: &Answer) -> &str {
    answer.header("event-cursor").expect("a cursor")
}

async fn follower_gets_every_event_by_its_cursor(server: Server, protocol: Protocol) {
    let mut published = Vec::new();
    for number in 0..5 {
        published.push(publish(&server, "t", &number.to_string()).await);
    }
    let mut target = "/follow/t?wait=60".to_owned();
    for (number, expected) in published.iter().enumerate() {
        let answer = follow(&server, protocol, &target).await;
        assert_eq!((answer.expect(200), cursor(&answer)), (&*number.to_string(), &**expected));
        assert_eq!((answer.header("events-missed"), answer.header("topic-restarted")), (None, None));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        target = format!("/follow/t?wait=60&after={}", cursor(&answer));
    }
    let parked = server.park(protocol, &Request::get(&target)).await;
    publish(&server, "t", "next").await;
    assert_eq!(parked.answer().await.expect(200), "next");
    // Reading takes nothing away.
    assert_eq!(follow(&server, protocol, "/follow/t").await.expect(200), "0");
}

async fn follower_from_now_on_gets_what_comes_later(server: Server, protocol: Protocol) {
    for topic in ["new", "old"] {
        if topic == "old" {
            publish(&server, topic, "before").await;
        }
        let nothing = follow(&server, protocol, &format!("/follow/{topic}?after=now&wait=0")).await;
        nothing.expect(204);
        publish(&server, topic, "between").await;
        let next = format!("/follow/{topic}?wait=60&after={}", cursor(&nothing));
        let answer = follow(&server, protocol, &next).await;
        assert_eq!((answer.expect(200), answer.header("topic-restarted")), ("between", None), "{topic}");
        let parked =
            server.park(protocol, &Request::get(&format!("/follow/{topic}?after=now&wait=60"))).await;
        // It may not have asked for the end yet: then it gets one of the later events.
        let mut publishing = JoinSet::new();
        let address = server.address();
        publishing.spawn(async move {
            let mut client = Http1::connect(address).await;
            loop {
                client.ask(&Request::post(&format!("/publish/{topic}"), "later")).await.expect(202);
            }
        });
        assert_eq!(parked.answer().await.expect(200), "later");
    }
}

async fn followers_all_get_the_same_event(server: Server, protocol: Protocol) {
    let mut followers = Vec::new();
    for _ in 0..20 {
        followers.push(server.park(protocol, &Request::get("/follow/t?wait=60")).await);
    }
    let published = publish(&server, "t", "one").await;
    for follower in followers {
        let answer = follower.answer().await;
        assert_eq!((answer.expect(200), cursor(&answer)), ("one", &*published));
    }
}

async fn bad_cursor_is_400_with_a_sentence(server: Server, protocol: Protocol) {
    publish(&server, "t", "one").await;
    for after in ["x", "", "0", "1-1", "00000000-", "00000000-x", "99999999999999999999-1"] {
        let answer = follow(&server, protocol, &format!("/follow/t?wait=60&after={after}")).await;
        assert!(answer.expect(400).contains("cursor"), "{after}: {}", answer.text());
    }
}

async fn bad_topic_name_is_400_with_a_sentence(server: Server, protocol: Protocol) {
    for request in [Request::post("/publish/a%20b", "x"), Request::get("/follow/-x?wait=0")] {
        let answer = server.send(protocol, &request).await;
        assert!(answer.expect(400).contains("128"), "{}", answer.text());
    }
}

async fn bytes_and_content_type_come_back_as_published(component: &str) {
    let server = Server::start(component).await;
    let every_byte: Vec<u8> = (0..=255).cycle().take(1024 * 1024).collect();
    for (data, kind) in
        [(Vec::new(), Some("text/plain")), (every_byte, Some("image/png")), (b"{}".to_vec(), None)]
    {
        let mut request = Request::post("/publish/t", data.clone());
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let follower = server.park(H1, &Request::get("/follow/t?after=now&wait=60")).await;
        let published = server.send(H1, &request).await;
        let answer = follower.answer().await;
        // It may have asked for the end of the topic after that.
        let answer = if answer.status == 204 { follow(&server, H1, "/follow/t").await } else { answer };
        assert_eq!((answer.status.as_u16(), cursor(&answer)), (200, published.expect(202).trim_end()));
        assert_eq!(answer.header("content-type"), Some(kind.unwrap_or("application/octet-stream")));
        assert_eq!(answer.header("content-length"), Some(data.len().to_string().as_str()));
        assert!(answer.body == data, "{} bytes became {}", data.len(), answer.body.len());
    }
}

async fn configured(component: &str, topics: &str) -> Server {
    Server::with_config(&format!("[topics]\n{topics}\n[apps.app]\ncomponent = '{{{component}}}'\n")).await
}

async fn what_is_no_longer_kept_is_told(component: &str) {
    let server = configured(component, "keep_events = 2").await;
    let first = publish(&server, "t", "0").await;
    for number in 1..6 {
        publish(&server, "t", &number.to_string()).await;
    }
    let answer = follow(&server, H1, &format!("/follow/t?after={first}")).await;
    assert_eq!((answer.expect(200), answer.header("events-missed")), ("4", Some("3")));
    let answer = follow(&server, H1, "/follow/t").await;
    assert_eq!((answer.expect(200), answer.header("events-missed")), ("4", None));
}

async fn limits_of_topics_have_their_answers(component: &str) {
    let limits = "max_topics = 1\nmax_waiters = 1\nmax_event_size = '1KiB'\nmax_total_bytes = '2KiB'";
    let server = configured(component, limits).await;
    let refused = server.send(H1, &Request::post("/publish/t", "x".repeat(1025))).await;
    assert!(refused.expect(413).contains("1024"), "{}", refused.text());
    publish(&server, "t", &"x".repeat(1000)).await;
    for (target, size) in [("/publish/another", 1), ("/publish/t", 1000)] {
        server.send(H1, &Request::post(target, "x".repeat(size))).await.expect(507);
    }
    server.get("/follow/another?wait=60").await.expect(507);
    let waits = server.occupy(H1, "/follow/t?after=now&wait=60", "/follow/t?after=now&wait=0").await;
    publish(&server, "t", "small").await;
    assert_eq!(waits.answer().await.expect(200), "small");
}

async fn on_disk(component: &str, directory: &Path) -> Server {
    Server::with_config(&format!(
        "[events]\nstore = 'disk'\ndirectory = '{}'\n[apps.app]\ncomponent = '{{{component}}}'\n",
        directory.display()
    ))
    .await
}

async fn cursor_outlives_a_kill(component: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = on_disk(component, folder.path()).await;
    let first = publish(&server, "t", "one").await;
    let second = publish(&server, "t", "two").await;
    server.signal(Signal::KILL);
    server.exit().await;
    let server = on_disk(component, folder.path()).await;
    let answer = follow(&server, H1, &format!("/follow/t?after={first}")).await;
    assert_eq!((answer.expect(200), cursor(&answer)), ("two", &*second));
    let parked = server.park(H1, &Request::get(&format!("/follow/t?after={second}&wait=60"))).await;
    publish(&server, "t", "three").await;
    let answer = parked.answer().await;
    assert_eq!((answer.expect(200), answer.header("topic-restarted")), ("three", None));
}

async fn cursor_of_an_earlier_life_is_told(component: &str) {
    let server = Server::start(component).await;
    let old = publish(&server, "t", "one").await;
    drop(server);
    let server = Server::start(component).await;
    for text in ["two", "three"] {
        publish(&server, "t", text).await;
    }
    let answer = follow(&server, H1, &format!("/follow/t?after={old}")).await;
    assert_eq!((answer.expect(200), answer.header("topic-restarted")), ("two", Some("true")));
}

async fn follower_that_leaves_makes_room(component: &str) {
    let server = configured(component, "max_waiters = 1").await;
    for leave in [ClientLeave::Close, ClientLeave::Reset] {
        let follower = server.occupy(H1, "/follow/t?wait=60", "/follow/t?wait=0").await;
        let _connection = follower.leave(leave).await;
        eventually("there is room again", async || {
            (server.get("/follow/t?wait=0").await.status == 204).then_some(())
        })
        .await;
    }
}

async fn guest_sees_batches_and_errors(component: &str) {
    let server = configured(component, "keep_events = 3").await;
    let mut cursors = Vec::new();
    for text in ["a", "b", "c", "d", "e"] {
        cursors
            .push(server.get(&format!("/publish?topic=t&text={text}")).await.expect(200).trim().to_owned());
    }
    let lines = |from: usize, to: usize| {
        let line = |(cursor, text): (&String, &str)| format!("{cursor} {text}");
        cursors.iter().zip(["a", "b", "c", "d", "e"]).map(line).collect::<Vec<_>>()[from..to].join("\n")
    };
    let read = async |limit: u32, query: String| {
        server.get(&format!("/read?topic=t&limit={limit}{query}")).await.expect(200).trim().to_owned()
    };
    assert_eq!(read(10, String::new()).await, format!("missed=0 restarted=false\n{}", lines(2, 5)));
    assert_eq!(
        read(10, format!("&after={}", cursors[0])).await,
        format!("missed=1 restarted=false\n{}", lines(2, 5))
    );
    assert_eq!(
        read(1, format!("&after={}", cursors[2])).await,
        format!("missed=0 restarted=false\n{}", lines(3, 4))
    );
    assert_eq!(read(10, format!("&after={}", cursors[4])).await, "nothing");
    assert_eq!(read(10, "&after=x".to_owned()).await, "error InvalidCursor");
    assert_eq!(server.get("/end?topic=t").await.expect(200).trim(), cursors[4]);
    assert_eq!(server.get("/end?topic=a%20b").await.expect(200).trim(), "error InvalidName");
}
