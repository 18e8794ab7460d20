//! The log: where it goes, how it looks, and what of it is wanted.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use super::follow::{Follower, Followers};
use super::json::Json;
use super::lines::{Lines, Writing};

/// What of the log is wanted. It can change while the server runs.
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    wanted: Mutex<String>,
    followers: Followers,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line for people.
    Text,
    /// An object of JSON on a line, for programs.
    Json,
}

impl Format {
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

impl Log {
    /// Begins to log to standard error, for the whole process. `wanted` is a level, or one for each target, as
    /// `info,linger::access=debug`. What is logged is written for as long as the second is kept.
    pub fn start(wanted: &str, format: Format) -> Result<(Self, Writing), String> {
        let (filter, handle) = reload::Layer::new(parse(wanted)?);
        let (followers, followed) = Followers::new();
        let (lines, writing) = Lines::to(std::io::stderr()).map_err(|error| error.to_string())?;
        let lines = match format {
            Format::Text => {
                let text = fmt::layer().with_writer(lines).with_target(false);
                text.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed()
            }
            Format::Json => Json::to(move |line, of| lines.put(line, of)).with_filter(filter).boxed(),
        };
        let layers = vec![lines, followed.boxed()];
        tracing_subscriber::registry().with(layers).try_init().map_err(|error| error.to_string())?;
        Ok((Self { filter: handle, wanted: Mutex::new(wanted.to_owned()), followers }, writing))
    }

    /// What is wanted now.
    #[must_use]
    pub fn wanted(&self) -> String {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows what happens from now on, as far as it is wanted: by levels and targets, as above.
    pub fn follow(&self, wanted: &str) -> Result<Follower, String> {
        check(wanted)?;
        let wanted = wanted.parse::<Targets>().map_err(|error| format!("{wanted}: {error}; {REMEDY}"))?;
        Ok(self.followers.follow(wanted))
    }

    /// Wants something else from now on.
    pub fn want(&self, wanted: &str) -> Result<(), String> {
        self.filter.reload(parse(wanted)?).map_err(|error| error.to_string())?;
        wanted.clone_into(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

const REMEDY: &str = "write error, warn, info, debug or trace, or TARGET=LEVEL";

/// The client of NATS says what the store says too, with no remedy. Who wants it asks for `async_nats=debug`.
const QUIET: &str = "async_nats=off";

fn parse(wanted: &str) -> Result<EnvFilter, String> {
    check(wanted)?;
    EnvFilter::try_new(format!("{QUIET},{wanted}")).map_err(|error| format!("{wanted}: {error}; {REMEDY}"))
}

fn check(wanted: &str) -> Result<(), String> {
    // Other words would be taken for targets, and all else would be dropped.
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let mut words = wanted.split(',').map(str::trim);
    if let Some(word) = words.find(|word| !word.contains('=') && !is_level(word)) {
        return Err(format!("`{word}` is no level; {REMEDY}"));
    }
    Ok(())
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
