//! Authentication at NATS, and remedies if it fails.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use linger_config::NatsConfig;

use crate::nats::client::pause;

/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How often a silent connection is asked whether it lives. After three without an answer it is given up.
const PING: Duration = Duration::from_secs(3);

/// How long one request may take before it is sent again.
const REQUEST: Duration = Duration::from_secs(2);

/// Connects, or fails with a sentence: at that time, or as soon as it is sure that NATS does not let this host in. `made`
/// counts the connections, also later ones.
pub(crate) async fn connect(
    config: &NatsConfig,
    until: Instant,
    made: Arc<watch::Sender<u64>>,
) -> Result<Client, String> {
    let mut denied = None;
    loop {
        match options(config, made.clone()).await?.connect(&config.servers).await {
            Ok(client) => return Ok(client),
            Err(error) => {
                let found = remedy(&error, config).map(|remedy| (error.to_string(), remedy));
                // Of several servers another may let it in, when it is up.
                let is_sure = config.servers.len() == 1 && found.is_some() && found == denied;
                denied = found.or(denied);
                if is_sure || Instant::now() >= until {
                    return Err(unconnected(&config.servers.join(", "), &error, denied));
                }
                sleep(pause(3)).await;
            }
        }
    }
}

fn unconnected(servers: &str, error: &ConnectError, denied: Option<(String, &str)>) -> String {
    match denied {
        Some((error, remedy)) => format!("NATS at {servers} refuses the connection: {error}; {remedy}"),
        None => {
            format!("cannot connect to NATS at {servers}: {error}; start it, or set `events.nats.servers`")
        }
    }
}

/// What to do about a connection that will not be made later either, if this is one.
fn remedy(error: &ConnectError, config: &NatsConfig) -> Option<&'static str> {
    if matches!(error.kind(), ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication) {
        return Some(who_it_is(config));
    }
    // TLS has no kind of its own where one end does not agree with the other.
    let said = error.to_string();
    if said.contains("invalid peer certificate") {
        return Some(
            "set `events.nats.tls.ca` to the authority of its certificate, and `events.nats.servers` to a hostname in it",
        );
    }
    ["CertificateRequired", "BadCertificate", "UnknownCA"].iter().any(|alert| said.contains(alert)).then_some(
        "set `events.nats.tls.certificate` and `events.nats.tls.key` to a certificate that it trusts",
    )
}

/// The keys that say to NATS who this host is.
fn who_it_is(config: &NatsConfig) -> &'static str {
    if config.credentials.is_some() {
        "see `events.nats.credentials`"
    } else if config.user.is_some() {
        "see `events.nats.user` and `events.nats.password`"
    } else if config.token.is_some() {
        "see `events.nats.token`"
    } else {
        "set `events.nats.credentials`, `events.nats.user` and `events.nats.password`, or `events.nats.token`"
    }
}

/// How a connection is made: as whom, and what is told of it.
async fn options(config: &NatsConfig, made: Arc<watch::Sender<u64>>) -> Result<ConnectOptions, String> {
    let who = who_it_is(config);
    let mut options = ConnectOptions::new()
        .name("linger")
        .connection_timeout(ATTEMPT)
        .request_timeout(Some(REQUEST))
        .ping_interval(PING)
        .skip_subject_validation(true)
        .reconnect_delay_callback(|attempts| pause(u32::try_from(attempts).unwrap_or(u32::MAX)))
        .event_callback(move |event| {
            if event == Event::Connected {
                made.send_modify(|count| *count += 1);
            }
            log(&event, who);
            ready(())
        });
    if let Some(file) = &config.credentials {
        options = options.credentials_file(file).await.map_err(|error| {
            format!(
                "`events.nats.credentials`: {}: {error}; use a credentials file from `nsc`",
                file.display()
            )
        })?;
    }
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), password.reveal().to_owned());
    }
    if let Some(token) = &config.token {
        options = options.token(token.reveal().to_owned());
    }
    if let Some(tls) = &config.tls {
        for (key, file) in [("ca", &tls.ca), ("certificate", &tls.certificate), ("key", &tls.key)] {
            // They are read again at each connection, when nobody could say which it was.
            if let Some(file) = file {
                std::fs::File::open(file)
                    .map_err(|error| format!("`events.nats.tls.{key}`: {}: {error}", file.display()))?;
            }
        }
        options = options.require_tls(true);
        if let Some(ca) = &tls.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
    }
    Ok(options)
}

fn log(event: &Event, who: &str) {
    match event {
        Event::Connected => tracing::info!("NATS: connected"),
        Event::Disconnected => tracing::warn!("NATS: the connection is lost; parked requests stay parked"),
        Event::ClientError(error) if error.to_string().contains("authorization") => {
            tracing::warn!("NATS refuses this host now: {error}; {who}");
        }
        event => tracing::warn!("NATS: {event}"),
    }
}
