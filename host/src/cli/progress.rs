//! That something takes long: a bar on a terminal, and otherwise a line now and then where it takes minutes.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Something of which nobody knows how long it takes. Seconds: only a terminal shows it.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Something that has so many parts, and takes minutes. It is told to standard error: what is printed is for whoever reads
/// standard output.
pub(super) struct PartsProgress {
    name: &'static str,
    bar: ProgressBar,
}

impl PartsProgress {
    /// Begins. `name` is what the parts are.
    pub(super) fn new(name: &'static str) -> Self {
        let bar = ProgressBar::no_length().with_message(name);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left") {
            bar.set_style(style);
        }
        Self { name, bar }
    }

    /// So many are done, of how many.
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
