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

/// What a figure must reach, and what is better still.
#[derive(Clone, Copy)]
pub(crate) struct Goal {
    must: f64,
    aim: f64,
    /// Whether more is better.
    more: bool,
}

impl Goal {
    pub(crate) const fn at_least(must: f64, aim: f64) -> Self {
        Self { must, aim, more: true }
    }

    pub(crate) const fn at_most(must: f64, aim: f64) -> Self {
        Self { must, aim, more: false }
    }

    /// What is asked for, and whether the figure is as good.
    pub(crate) fn judge(self, figure: f64) -> String {
        let Self { must, aim, more } = self;
        let [must_met, aim_met] = [must, aim].map(|goal| if more { figure >= goal } else { figure <= goal });
        format!("must {must}: {}, aim {aim}: {}", verdict(must_met), verdict(aim_met))
    }
}
