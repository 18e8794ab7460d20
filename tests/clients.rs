//! Clients that people use, over TLS, that say `connection: close`, read their answer by its length, and close: what they
//! have read does not come again. They are not all at hand everywhere, so that is run by `make clients` alone.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use crate::harness::{Certificate, H1, Request, Server, root};

const ROUNDS: usize = 30;

/// A client that is not on every machine: how to ask whether it is here, and how it is run before its URL.
struct KnownClient {
    name: &'static str,
    check: Vec<&'static str>,
    run: Vec<String>,
}

fn clients() -> Vec<KnownClient> {
    let script = |name: &str| root().join("tests/clients").join(name).display().to_string();
    let client = |name, check: &[&'static str], run: &[String]| KnownClient {
        name,
        check: check.to_vec(),
        run: run.to_vec(),
    };
    let wget =
        ["wget", "--quiet", "--no-check-certificate", "--header=Connection: close", "--output-document=-"];
    // `make clients` has one with requests.
    let python = std::env::var("CLIENTS_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let python: &'static str = python.leak();
    let by = |program: &str, name: &str| [program.to_owned(), script(name)];
    vec![
        client("urllib", &["python3", "-c", "import ssl"], &by("python3", "with_urllib.py")),
        client("wget", &["wget", "--version"], &wget.map(str::to_owned)),
        client("Net::HTTP", &["ruby", "-ropenssl", "-e", "1"], &by("ruby", "net_http.rb")),
        client("LWP", &["perl", "-MLWP::Protocol::https", "-e", "1"], &by("perl", "lwp.pl")),
        client(
            "HTTP::Tiny",
            &["perl", "-MHTTP::Tiny", "-MIO::Socket::SSL", "-e", "1"],
            &by("perl", "http_tiny.pl"),
        ),
        client("requests", &[python, "-c", "import requests"], &by(python, "with_requests.py")),
        client(
            "Tcl http",
            &["sh", "-c", "echo 'puts [package require tls]' | tclsh | grep -q ."],
            &by("tclsh", "http.tcl"),
        ),
    ]
}

#[tokio::test]
#[ignore = "needs clients of several languages: run `make clients`"]
async fn answer_that_was_read_to_its_length_does_not_come_again() {
    let certificate = Certificate::new();
    let server = server(&certificate).await;
    let url = format!("https://{}", server.encrypted_address().await);
    let mut wrong = Vec::new();
    for (number, client) in clients().iter().enumerate() {
        if !succeeds(&client.check) {
            println!("skipped: {} is not here", client.name);
            continue;
        }
        let again = again(&server, &format!("{url}/poll/{number}?wait=20"), number, client).await;
        println!("{}: {again} of {ROUNDS} came again", client.name);
        if again > 0 {
            wrong.push(format!("{}: {again}", client.name));
        }
    }
    assert!(wrong.is_empty(), "came again: {wrong:?}");
}

/// Has the client read so many events, one a run, and says how many of them came again.
async fn again(server: &Server, url: &str, queue: usize, client: &KnownClient) -> usize {
    let mut read = HashMap::<String, usize>::new();
    for round in 0..ROUNDS {
        let event = format!("event {round} for {}", client.name);
        server.send(H1, &Request::post(&format!("/push/{queue}"), event)).await.expect(202);
        let ran = Command::new(&client.run[0]).args(&client.run[1..]).arg(url).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{}: {}: {said}", client.name, ran.status);
        *read.entry(String::from_utf8(ran.stdout).unwrap()).or_default() += 1;
    }
    // One that comes again takes the place of the next.
    loop {
        let answer = server.get(&format!("/poll/{queue}?wait=3")).await;
        if answer.status == 204 {
            break;
        }
        *read.entry(answer.expect(200).to_owned()).or_default() += 1;
    }
    assert_eq!(read.len(), ROUNDS, "{}: events are lost: {read:?}", client.name);
    read.values().map(|count| count - 1).sum()
}

async fn server(certificate: &Certificate) -> Server {
    let (file, key) = (certificate.file(), certificate.key());
    Server::with_config(&format!(
        "[[listeners]]\naddress = '127.0.0.1:0'\n[[listeners]]\naddress = '127.0.0.1:0'\n\
         tls = {{ certificate = '{}', key = '{}' }}\n[apps.app]\ncomponent = '{{longpoll}}'\n",
        file.display(),
        key.display(),
    ))
    .await
}

fn succeeds(command: &[&str]) -> bool {
    let (program, arguments) = command.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|ran| ran.success())
}
