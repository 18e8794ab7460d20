//! Export of traces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::{Scheme, Uri};
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdminToken, unit};

/// Export of request traces to a collector, by OTLP over HTTP. See docs/traces.md.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// The collector's URL, as `http://HOST:PORT` or `https://HOST:PORT`. The default path is `/v1/traces`.
    #[schemars(example = &"http://127.0.0.1:4318")]
    pub endpoint: String,
    /// Sampling: the share of new traces that is recorded, from 0 to 1. A request with a `traceparent` header
    /// follows the sampling decision in it.
    #[serde(default = "default_ratio")]
    pub ratio: f64,
    /// The service name in the traces.
    #[serde(default = "default_service")]
    pub service: String,
    /// Headers for the collector by name, such as `authorization = "Bearer ${TOKEN}"`.
    #[serde(default)]
    pub headers: BTreeMap<String, AdminToken>,
    /// For `https`: the trusted certificate authorities, as a PEM file, relative to the configuration's folder.
    /// Default: the public ones.
    #[serde(default)]
    #[schemars(example = &"collector-ca.pem")]
    pub ca: Option<PathBuf>,
    /// Spans that wait to be sent. Beyond: new spans are dropped.
    #[serde(default = "default_max_queued")]
    pub max_queued: usize,
    /// Spans in one batch, at most `max_queued`. A full batch is sent at once.
    #[serde(default = "default_max_batch")]
    pub max_batch: usize,
    /// How long an incomplete batch waits for more spans, at least 10 ms.
    #[serde(default = "default_interval", with = "unit::DurationSetting")]
    pub interval: Duration,
    /// How long the export of a batch may take, with all retries, at least 10 ms. Beyond: the spans of the batch
    /// are dropped. A graceful shutdown waits at most as long for the last batch.
    #[serde(default = "default_timeout", with = "unit::DurationSetting")]
    pub timeout: Duration,
}

/// The standard path for traces.
const PATH: &str = "/v1/traces";

/// With less, the exporting thread would never sleep.
const LEAST: Duration = Duration::from_millis(10);

fn default_ratio() -> f64 {
    1.0
}

fn default_service() -> String {
    "linger".to_owned()
}

fn default_max_queued() -> usize {
    8192
}

fn default_max_batch() -> usize {
    512
}

fn default_interval() -> Duration {
    Duration::from_secs(1)
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

impl TracesConfig {
    pub(super) fn complete(&mut self, folder: &Path) -> Result<(), String> {
        if let Some(ca) = &mut self.ca {
            *ca = folder.join(&*ca);
        }
        let endpoint = self.endpoint()?;
        if self.ca.is_some() && endpoint.scheme() != Some(&Scheme::HTTPS) {
            return Err("`ca` needs an `endpoint` with https".to_owned());
        }
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err("`ratio` must be from 0 to 1".to_owned());
        }
        if self.service.is_empty() {
            return Err("`service` must not be empty; remove it for the default `linger`".to_owned());
        }
        if self.max_batch == 0 || self.max_batch > self.max_queued {
            return Err("`max_batch` must be at least 1, and at most `max_queued`".to_owned());
        }
        if self.interval < LEAST || self.timeout < LEAST {
            return Err(format!("`interval` and `timeout` must be at least {LEAST:?}"));
        }
        match self.headers.iter().find(|(name, value)| !is_header(name, value)) {
            Some((name, _)) => {
                Err(format!("headers.{name}: the name or value is not valid in an HTTP header"))
            }
            None => Ok(()),
        }
    }

    /// The complete URL. An error does not quote it, because it may contain a secret.
    pub fn endpoint(&self) -> Result<Uri, String> {
        let unfit =
            || "`endpoint` is not a collector's URL; write http://HOST:PORT or https://HOST:PORT".to_owned();
        let mut parts = self.endpoint.parse::<Uri>().map_err(|_| unfit())?.into_parts();
        let known = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
        if !parts.scheme.as_ref().is_some_and(known) {
            return Err(unfit());
        }
        let authority = parts.authority.as_ref().ok_or_else(unfit)?;
        if authority.as_str().contains('@') {
            return Err("`endpoint` must not contain a user; set `headers.authorization`".to_owned());
        }
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(unfit());
        }
        if parts.path_and_query.as_ref().is_none_or(|path| path == "/") {
            parts.path_and_query = PATH.parse().ok();
        }
        Uri::from_parts(parts).map_err(|_| unfit())
    }
}

fn is_header(name: &str, value: &AdminToken) -> bool {
    name.parse::<HeaderName>().is_ok() && value.reveal().parse::<HeaderValue>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(text: &str) -> Result<TracesConfig, String> {
        let mut traces: TracesConfig = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        traces.complete(Path::new("/etc/linger"))?;
        Ok(traces)
    }

    #[test]
    fn endpoint_has_a_path() {
        for (endpoint, whole) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://[::1]/", "https://[::1]/v1/traces"),
            ("https://traces.example/otlp?a=b", "https://traces.example/otlp?a=b"),
        ] {
            let traces = traces(&format!("endpoint = '{endpoint}'")).unwrap();
            assert_eq!(traces.endpoint().unwrap().to_string(), whole);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, problem) in [
            ("endpoint = '127.0.0.1:4318'", "http://HOST:PORT"),
            ("endpoint = 'ftp://a'", "http://HOST:PORT"),
            ("endpoint = 'http://secret@a'", "must not contain a user"),
            ("endpoint = 'http://a:43180000'", "http://HOST:PORT"),
            ("endpoint = 'http://a:'", "http://HOST:PORT"),
            ("endpoint = 'http:///x'", "http://HOST:PORT"),
            ("endpoint = 'http://a'\nca = 'x.pem'", "`ca` needs"),
            ("endpoint = 'http://a'\nratio = 1.5", "from 0 to 1"),
            ("endpoint = 'http://a'\nratio = nan", "from 0 to 1"),
            ("endpoint = 'http://a'\nservice = ''", "`service`"),
            ("endpoint = 'http://a'\nmax_batch = 0", "`max_batch`"),
            ("endpoint = 'http://a'\nmax_queued = 10", "`max_batch`"),
            ("endpoint = 'http://a'\ninterval = '1ms'", "10ms"),
            ("endpoint = 'http://a'\nheaders.'a b' = 'x'", "headers.a b"),
            ("endpoint = 'http://a'\nheaders.a = \"x\\n\"", "headers.a"),
        ] {
            let error = traces(text).unwrap_err();
            assert!(error.contains(problem) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn headers_are_not_printed() {
        let traces = traces("endpoint = 'http://a'\nheaders.authorization = 'Bearer 123'").unwrap();
        assert!(!format!("{traces:?}").contains("123"));
        assert!(!toml::to_string(&traces).unwrap().contains("123"));
    }
}
