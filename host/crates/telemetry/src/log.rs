//! The log: its destination, format and filter.

use std::io::IsTerminal as _;

use parking_lot::Mutex;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use super::follow::{LogFollower, LogFollowers};
use super::json::JsonLayer;
use super::lines::{LogSink, SinkGuard};
use super::wanted::DynamicFilter;

/// What of the log is wanted. It can change while the server runs.
pub struct LogFilter {
    wanted: DynamicFilter,
    /// The same, in words.
    words: Mutex<String>,
    followers: LogFollowers,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// An object of JSON on a line, for programs.
    Json,
}

impl LogFormat {
    /// What is asked for: `text`, `json` or, without a word, text on a terminal and JSON elsewhere.
    pub fn wanted(asked: Option<&str>) -> Result<Self, String> {
        match asked {
            Some("text") => Ok(Self::Text),
            None if std::io::stderr().is_terminal() => Ok(Self::Text),
            Some("json") | None => Ok(Self::Json),
            Some(other) => Err(format!("LINGER_LOG_FORMAT={other}: set it to text or json")),
        }
    }
}

impl LogFilter {
    /// Begins to log to standard error, for the whole process. `wanted` is a level, or one for each target, as
    /// `info,linger::access=debug`. What is logged is written for as long as the second is kept.
    pub fn start(wanted: &str, format: LogFormat) -> Result<(Self, SinkGuard), String> {
        let filter = DynamicFilter::new(parse(wanted)?);
        let (followers, followed) = LogFollowers::new();
        let (lines, writing) = LogSink::to(std::io::stderr()).map_err(|error| error.to_string())?;
        let lines = match format {
            LogFormat::Text => {
                let text = fmt::layer().with_writer(lines).with_target(false);
                text.with_ansi(std::io::stderr().is_terminal()).with_filter(filter.clone()).boxed()
            }
            LogFormat::Json => {
                JsonLayer::to(move |line, of| lines.put(line, of)).with_filter(filter.clone()).boxed()
            }
        };
        let layers = vec![lines, followed.boxed()];
        tracing_subscriber::registry().with(layers).try_init().map_err(|error| error.to_string())?;
        Ok((Self { wanted: filter, words: Mutex::new(wanted.to_owned()), followers }, writing))
    }

    /// The current filter.
    #[must_use]
    pub fn wanted(&self) -> String {
        self.words.lock().clone()
    }

    /// Follows what happens from now on, as far as it is wanted: by levels and targets, as above.
    pub fn follow(&self, wanted: &str) -> Result<LogFollower, String> {
        Ok(self.followers.follow(parse(wanted)?))
    }

    /// Changes the filter.
    pub fn want(&self, wanted: &str) -> Result<(), String> {
        self.wanted.set(parse(wanted)?);
        wanted.clone_into(&mut self.words.lock());
        Ok(())
    }
}

const REMEDY: &str = "write error, warn, info, debug or trace, or TARGET=LEVEL";

/// The client of NATS says what the store says too, with no remedy. Who wants it asks for `async_nats=debug`.
const QUIET: &str = "async_nats=off";

fn parse(wanted: &str) -> Result<Targets, String> {
    // Other words would be taken for targets, and all else would be dropped.
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let words: Vec<_> = wanted.split(',').map(str::trim).collect();
    if let Some(word) = words.iter().find(|word| !word.contains('=') && !is_level(word)) {
        return Err(format!("`{word}` is not a level; {REMEDY}"));
    }
    let all = format!("{QUIET},{}", words.join(","));
    all.parse().map_err(|error| format!("{wanted}: {error}; {REMEDY}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_that_is_no_level_is_refused() {
        for right in ["info", "INFO", "off", "info,linger::access=debug", "linger=trace, warn"] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in ["inof", "", "info,", "info,linger", "linger=loud"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
