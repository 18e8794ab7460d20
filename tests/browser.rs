//! A browser's `EventSource` and the example `sse`.

use std::net::SocketAddr;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::{Browser, H1, Request, Server};

async fn serve(address: SocketAddr, directory: &Path) -> Server {
    let text = format!(
        "[events]\nstore = 'disk'\ndirectory = '{}'\n[apps.sse]\ncomponent = '{{sse}}'\n",
        directory.display()
    );
    Server::listening_on(address, &text).await
}

async fn publish(server: &Server, data: &str) {
    server.send(H1, &Request::post("/publish/t", data.to_owned())).await.expect(202);
}

/// What the page has received, in its order.
const LISTEN: &str = "
    window.received = [];
    window.stream = new EventSource('/events/t');
    stream.onmessage = event => received.push(event.data);
    stream.addEventListener('missed', event => received.push(`missed ${event.data}`));
    true";

#[tokio::test]
async fn event_source_misses_nothing_and_gets_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = serve(([127, 0, 0, 1], 0).into(), folder.path()).await;
    let address = server.address();
    let Some(mut browser) = Browser::open(&format!("http://{address}/")).await else {
        println!("skipped: there is no Chromium here");
        return;
    };
    browser.until("document.readyState === 'complete'").await;
    publish(&server, "0").await;
    browser.evaluate(LISTEN).await;
    browser.until("received.length > 0").await;
    for (number, signal) in [(1, Signal::KILL), (3, Signal::TERM)] {
        publish(&server, &number.to_string()).await;
        browser.until(&format!("received.length > {number}")).await;
        server.signal(signal);
        server.exit().await;
        // Before the browser is back: it goes on where it was.
        server = serve(address, folder.path()).await;
        publish(&server, &(number + 1).to_string()).await;
        browser.until(&format!("received.length > {number} + 1")).await;
        let expected: Vec<_> = (0..number + 2).map(|number| number.to_string()).collect();
        assert_eq!(browser.evaluate("received.join()").await, expected.join(","));
    }
    browser.until("stream.readyState === EventSource.OPEN").await;
}

#[tokio::test]
async fn page_shows_what_is_published_in_it() {
    let server = Server::start("sse").await;
    let Some(mut browser) = Browser::open(&format!("http://{}/", server.address())).await else {
        println!("skipped: there is no Chromium here");
        return;
    };
    browser.until("document.getElementById('state')?.className === 'live'").await;
    browser
        .evaluate(
            "document.getElementById('text').value = 'hello from the page';
             document.getElementById('publish').requestSubmit(); true",
        )
        .await;
    browser.until("document.querySelector('#events pre')?.textContent === 'hello from the page'").await;
}
