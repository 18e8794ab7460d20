//! What NATS asks for before it lets a host in: TLS, certificates, names and passwords, tokens, credentials.

use std::path::Path;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    ADMIN_TCP, Certificate, H1, KeptConnection, Nats, Request, Server, assert_refused, component, eventually,
    serve_in_vain, write_config,
};

macro_rules! nats {
    ($start:expr) => {
        match $start {
            Some(nats) => nats,
            None => return,
        }
    };
}

fn config(nats: &Nats, keys: &str) -> String {
    config_of(&[nats], keys)
}

fn config_of(servers: &[&Nats], keys: &str) -> String {
    let servers: Vec<_> = servers.iter().map(|nats| format!("'{}'", nats.url())).collect();
    format!(
        "{ADMIN_TCP}[events]\nstore = 'nats'\n[events.nats]\nservers = [{}]\n{keys}\n[apps.app]\ncomponent = '{}'\n",
        servers.join(", "),
        component("longpoll").display()
    )
}

/// With these keys a host serves.
async fn is_let_in(nats: &Nats, keys: &str) {
    let server = Server::with_config(&config(nats, keys)).await;
    server.send(H1, &Request::post("/push/q", "an event")).await.expect(202);
    assert_eq!(server.get("/poll/q?wait=60").await.expect(200), "an event");
}

/// With these keys a host does not start, and says what to do.
async fn is_refused(nats: &Nats, keys: &str, parts: &[&str]) {
    does_not_start(&config(nats, keys), parts).await;
}

async fn does_not_start(config: &str, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = write_config(folder.path(), config);
    let output: Output = tokio::task::spawn_blocking(move || serve_in_vain(&file, &[])).await.unwrap();
    assert_refused(&output, parts);
}

/// A server that is configured by a file.
fn configured(folder: &TempDir, text: &str) -> Option<Nats> {
    let file = folder.path().join("nats.conf");
    std::fs::write(&file, text).unwrap();
    Nats::with_options(&["--config", file.to_str().unwrap()])
}

#[tokio::test]
async fn user_needs_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats!(configured(&folder, "authorization { user: linger, password: right }"));
    is_let_in(&nats, "user = 'linger'\npassword = 'right'").await;
    let keys = ["`events.nats.user`", "`events.nats.password`"];
    is_refused(&nats, "user = 'linger'\npassword = 'wrong'", &keys).await;
    is_refused(&nats, "", &["`events.nats.credentials`", keys[0], keys[1], "`events.nats.token`"]).await;
}

#[tokio::test]
async fn token_is_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats!(configured(&folder, "authorization { token: right }"));
    is_let_in(&nats, "token = 'right'").await;
    is_refused(&nats, "token = 'wrong'", &["`events.nats.token`"]).await;
}

#[tokio::test]
async fn of_several_servers_one_that_lets_a_host_in_is_enough() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = [("one", &folders[0]), ("other", &folders[1])]
        .map(|(token, folder)| configured(folder, &format!("authorization {{ token: {token} }}")));
    let servers = [&nats!(one), &nats!(other)];
    // The client tries them in any order.
    for token in ["one", "other", "one", "other"] {
        drop(Server::with_config(&config_of(&servers, &format!("token = '{token}'"))).await);
    }
    does_not_start(&config_of(&servers, "token = 'none'"), &["`events.nats.token`"]).await;
}

#[tokio::test]
async fn host_that_is_let_in_no_longer_is_not_ready_until_it_is_again() {
    let folder = tempfile::tempdir().unwrap();
    let authorize = |token| format!("authorization {{ token: {token} }}");
    let mut nats = nats!(configured(&folder, &authorize("right")));
    let server = Server::with_config(&config(&nats, "token = 'right'")).await;
    let admin = server.admin_address().await;
    let is_ready = async |wanted: u16| {
        eventually("the host says so", async || {
            let answer = KeptConnection::connect(H1, admin)
                .await
                .ask(&Request::get("/readyz").host("localhost"))
                .await;
            (answer.status == wanted).then_some(())
        })
        .await;
    };
    is_ready(200).await;
    let mut restart_with = |token| {
        nats.kill();
        std::fs::write(folder.path().join("nats.conf"), authorize(token)).unwrap();
        nats.restart();
    };
    restart_with("other");
    server.log.line(&["NATS", "authorization violation", "`events.nats.token`"]).await;
    is_ready(503).await;
    restart_with("right");
    is_ready(200).await;
    server.send(H1, &Request::post("/push/q", "an event")).await.expect(202);
}

fn tls(certificate: &Certificate, more: &[&str]) -> Option<Nats> {
    let (certificate, key) = (certificate.file(), certificate.key());
    let mut options =
        vec!["--tls", "--tlscert", certificate.to_str().unwrap(), "--tlskey", key.to_str().unwrap()];
    options.extend(more);
    Nats::with_options(&options)
}

fn ca(file: &Path) -> String {
    format!("tls.ca = '{}'", file.display())
}

#[tokio::test]
async fn authority_of_the_server_is_known() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let nats = nats!(tls(&certificate, &[]));
    is_let_in(&nats, &ca(&certificate.file())).await;
    is_refused(&nats, &ca(&other.file()), &["`events.nats.tls.ca`"]).await;
    // Those of the system do not know it.
    is_refused(&nats, "", &["`events.nats.tls.ca`"]).await;
    is_refused(&nats, &ca(Path::new("none.pem")), &["`events.nats.tls.ca`", "none.pem"]).await;
}

#[tokio::test]
async fn host_shows_a_certificate_that_the_server_knows() {
    let (certificate, own, other) = (Certificate::new(), Certificate::new(), Certificate::new());
    let known = own.file();
    let nats = nats!(tls(&certificate, &["--tlsverify", "--tlscacert", known.to_str().unwrap()]));
    let showing = |own: &Certificate| {
        let (file, key) = (own.file(), own.key());
        let ca = ca(&certificate.file());
        format!("{ca}\ntls.certificate = '{}'\ntls.key = '{}'", file.display(), key.display())
    };
    is_let_in(&nats, &showing(&own)).await;
    let keys = ["`events.nats.tls.certificate`", "`events.nats.tls.key`"];
    is_refused(&nats, &showing(&other), &keys).await;
    is_refused(&nats, &ca(&certificate.file()), &keys).await;
}

/// A claim of `subject`, signed by `issuer`, as NATS has them.
fn claim(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string().as_bytes());
    let head = encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let body = encode(&json!({
        "jti": "1", "iat": 1, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "test", "nats": nats,
    }));
    let signed = format!("{head}.{body}");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// A file with credentials, as `nsc` writes them.
fn credentials(file: &Path, account: &KeyPair) {
    let user = KeyPair::new_user();
    let none = json!({ "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
    let (jwt, seed) = (claim(account, &user, &none), user.seed().unwrap());
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(file, text).unwrap();
}

#[tokio::test]
async fn credentials_are_of_an_account_that_the_server_knows() {
    let (operator, account, system) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
        "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let known = json!({ "type": "account", "version": 2, "limits": limits });
    let plain = json!({ "type": "account", "version": 2, "limits": { "subs": -1, "data": -1, "payload": -1, "conn": -1 } });
    let folder = tempfile::tempdir().unwrap();
    let nats = nats!(configured(
        &folder,
        &format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
            claim(&operator, &operator, &json!({ "type": "operator", "version": 2 })),
            system.public_key(),
            system.public_key(),
            claim(&operator, &system, &plain),
            account.public_key(),
            claim(&operator, &account, &known),
        )
    ));
    let keys = |name: &str| format!("credentials = '{}'", folder.path().join(name).display());
    credentials(&folder.path().join("right.creds"), &account);
    is_let_in(&nats, &keys("right.creds")).await;
    credentials(&folder.path().join("wrong.creds"), &KeyPair::new_account());
    is_refused(&nats, &keys("wrong.creds"), &["`events.nats.credentials`"]).await;
    std::fs::write(folder.path().join("none.creds"), "nothing").unwrap();
    for name in ["none.creds", "missing.creds"] {
        is_refused(&nats, &keys(name), &["`events.nats.credentials`", name, "nsc"]).await;
    }
}
