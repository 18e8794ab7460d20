//! The dashboard, in a browser.

use std::net::SocketAddr;

use crate::harness::{ADMIN_TCP, Browser, H1, Request, Server, component, eventually};

async fn serve(admin: &str) -> (Server, SocketAddr) {
    let server = Server::with_config(&format!("{admin}[apps.app]\ncomponent = '{{longpoll}}'\n")).await;
    let address = server.admin_address().await;
    (server, address)
}

async fn open(address: SocketAddr) -> Option<Browser> {
    let Some(mut browser) = Browser::open(&format!("http://{address}/")).await else {
        println!("skipped: there is no Chromium here");
        return None;
    };
    // Before, its elements may be missing.
    browser.until("document.readyState === 'complete'").await;
    Some(browser)
}

/// Drops a file onto an app's place, as people do: the component with this name.
fn drop_file(name: &str) -> String {
    let bytes: Vec<String> = std::fs::read(component(name)).unwrap().iter().map(u8::to_string).collect();
    format!(
        "(() => {{ const data = new DataTransfer();
            data.items.add(new File([new Uint8Array([{}])], '{name}.wasm'));
            document.querySelector('[data-app=app]').dispatchEvent(new DragEvent('drop', {{ dataTransfer: data }}));
            return true; }})()",
        bytes.join(",")
    )
}

const SAID: &str = "document.getElementById('said').textContent";

fn text_has(text: &str) -> String {
    format!("document.body.innerText.includes('{text}')")
}

#[tokio::test]
async fn dashboard_shows_what_runs_and_changes_it() {
    let (server, address) = serve(ADMIN_TCP).await;
    let Some(mut page) = open(address).await else { return };
    page.until("!document.getElementById('main').hidden").await;
    server.send(H1, &Request::post("/push/letters", "an event")).await.expect(202);
    let _waiting = server.park(H1, &Request::get("/poll/waiting?wait=60")).await;
    page.until(&text_has("/poll/waiting?wait=60")).await;
    page.until(&text_has("letters")).await;
    page.until("document.getElementById('parked').textContent === '1'").await;
    page.until("document.querySelectorAll('#rate-chart path').length === 1").await;
    // By a dropped file, and back by the keyboard.
    page.evaluate(&drop_file("longpoll-p2")).await;
    page.until(&format!("{SAID}.includes('deploy of longpoll-p2.wasm: generation 2')")).await;
    page.until("!!document.querySelector('[data-action=\"app/rollback\"]')").await;
    page.evaluate("document.querySelector('[data-action=\"app/rollback\"]').focus()").await;
    page.press("Enter").await;
    page.until(&format!("{SAID}.includes('rollback: generation 3')")).await;
    page.until("document.activeElement.dataset.action === 'app/rollback'").await;
    eventually("it serves again", async || (server.get("/poll/q?wait=0").await.status == 204).then_some(()))
        .await;
    // What is refused is said with its reason.
    page.evaluate(
        "(() => { const data = new DataTransfer(); data.items.add(new File(['no component'], 'x.wasm'));
          document.querySelector('[data-app=app]').dispatchEvent(new DragEvent('drop', { dataTransfer: data })); })()",
    )
    .await;
    page.until(&format!("{SAID}.includes('not a WebAssembly component')")).await;
    page.screenshot("dashboard").await;
}

#[tokio::test]
async fn dashboard_asks_for_the_token() {
    let (_server, address) = serve(&format!("{ADMIN_TCP}token = '0123456789abcdef'\n")).await;
    let Some(mut page) = open(address).await else { return };
    page.until("!document.getElementById('token').hidden").await;
    assert_eq!(page.evaluate("document.getElementById('main').hidden").await, true);
    page.evaluate(
        "document.querySelector('input').value = '0123456789abcdef'; document.querySelector('form button').click()",
    )
    .await;
    page.until("!document.getElementById('main').hidden").await;
}

/// Each control has a name that a screen reader can say, and each table its headers.
#[tokio::test]
async fn dashboard_can_be_read_aloud() {
    let (_server, address) = serve(ADMIN_TCP).await;
    let Some(mut page) = open(address).await else { return };
    page.until("document.querySelectorAll('[data-app]').length === 1").await;
    assert_eq!(page.nameless_controls().await, [""; 0]);
    for rule in [
        "document.documentElement.lang === 'en'",
        "[...document.querySelectorAll('table')].every(table => table.querySelector('th[scope=col]'))",
        "[...document.querySelectorAll('svg')].every(svg => svg.getAttribute('aria-label'))",
        "!!document.querySelector('[role=status]')",
    ] {
        assert_eq!(page.evaluate(rule).await, true, "{rule}");
    }
}
