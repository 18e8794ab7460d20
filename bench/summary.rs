//! Figures out of many.

use std::time::Duration;

/// What to know of many times.
pub(crate) struct Times {
    sorted: Vec<Duration>,
}

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { sorted: times }
    }

    /// The time that this many of a thousand do not exceed.
    pub(crate) fn permille(&self, permille: usize) -> Duration {
        let place = (self.sorted.len() * permille).div_ceil(1000).saturating_sub(1);
        self.sorted.get(place).copied().unwrap_or_default()
    }
}

/// The middle of some figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

/// Between which half of some figures lies.
pub(crate) fn quartiles(figures: &[f64]) -> [f64; 2] {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    [1, 3].map(|quarter| sorted.get(sorted.len() * quarter / 4).copied().unwrap_or(f64::NAN))
}

/// How a figure compares with what is asked for.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
