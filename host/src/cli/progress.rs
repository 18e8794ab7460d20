//! Progress: a bar on a terminal; elsewhere, for what takes minutes, a line now and then.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Progress of unknown length, a few seconds: only a terminal shows it.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Progress in parts, over minutes. Goes to standard error, because standard output is for the result.
pub(super) struct PartsProgress {
    name: &'static str,
    bar: ProgressBar,
}

impl PartsProgress {
    /// Begins. `name` is the parts' plural noun.
    pub(super) fn new(name: &'static str) -> Self {
        let bar = ProgressBar::no_length().with_message(name);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left") {
            bar.set_style(style);
        }
        Self { name, bar }
    }

    /// Shows that `count` parts of `of` are done.
    pub(super) fn done(&self, count: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(count);
        let quarter = of.div_ceil(4).max(1);
        if !std::io::stderr().is_terminal() && (count.is_multiple_of(quarter) || count == of) {
            // Nobody is left to tell if this fails.
            let _ = writeln!(std::io::stderr(), "{count} of {of} {}", self.name);
        }
    }
}

impl Drop for PartsProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
