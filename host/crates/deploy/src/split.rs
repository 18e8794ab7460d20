//! The share of an app's requests that go to its canary.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

/// A rule that divides an app's requests between its canary and the generation that serves the others. Written as `10%`, or
/// as a header: `x-beta: 1`.
#[derive(Clone, Debug, PartialEq)]
pub enum TrafficSplit {
    /// So many of a hundred, evenly spread.
    Percent(f64),
    /// The requests with this header.
    Header(HeaderName, HeaderValue),
}

/// Divides requests by a rule.
pub(super) struct SplitDivider {
    pub(super) split: TrafficSplit,
    /// Counts the requests.
    turn: AtomicU64,
}

impl SplitDivider {
    pub(super) fn new(split: TrafficSplit) -> Self {
        Self { split, turn: AtomicU64::new(0) }
    }

    /// Whether this request goes to the canary.
    pub(super) fn takes(&self, headers: &HeaderMap) -> bool {
        match &self.split {
            TrafficSplit::Percent(percent) => is_chosen(self.turn.fetch_add(1, Ordering::Relaxed), *percent),
            TrafficSplit::Header(name, value) => headers.get_all(name).iter().any(|given| given == value),
        }
    }
}

/// Multiples of the golden ratio are spread evenly over the unit interval, and so are those of each second or tenth of them
/// (Weyl's theorem; Knuth, The Art of Computer Programming, volume 3, section 6.4): clients that ask in turn for two things
/// have their share of both.
fn is_chosen(turn: u64, percent: f64) -> bool {
    /// 2^64 divided by the golden ratio.
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    #[expect(clippy::cast_precision_loss, reason = "a share does not have to be exact")]
    let place = turn.wrapping_mul(STEP) as f64 / u64::MAX as f64;
    place * 100.0 < percent
}

impl FromStr for TrafficSplit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unusable = || {
            format!(
                "`{text}` is not a share of requests; write a percentage such as `10%`, or a header such as `x-beta: 1`"
            )
        };
        if let Some(percent) = text.trim().strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| unusable())?;
            if !(percent > 0.0 && percent < 100.0) {
                return Err(format!(
                    "{percent}% is not a share for a canary; use more than 0% and less than 100%"
                ));
            }
            return Ok(Self::Percent(percent));
        }
        let (name, value) = text.split_once(':').ok_or_else(unusable)?;
        let name = name.trim().parse().map_err(|_| unusable())?;
        let value = value.trim().parse().map_err(|_| unusable())?;
        Ok(Self::Header(name, value))
    }
}

impl fmt::Display for TrafficSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Header(name, value) => write!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes())),
        }
    }
}

impl Serialize for TrafficSplit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn header_decides_by_its_value() {
        let divider = SplitDivider::new("X-Beta: yes".parse().unwrap());
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect()
        };
        assert!(divider.takes(&headers(&[("x-beta", "yes")])));
        assert!(!divider.takes(&headers(&[("x-beta", "no")])));
        assert!(!divider.takes(&headers(&[])));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for wrong in ["", "10", "0%", "100%", "-1%", "NaN%", "x%", "a b: c", ": c"] {
            assert!(wrong.parse::<TrafficSplit>().is_err(), "{wrong}");
        }
        for right in ["10%", "0.5%", "x-beta: 1"] {
            assert_eq!(right.parse::<TrafficSplit>().unwrap().to_string(), right);
        }
    }

    proptest! {
        /// Of any hundred requests in a row, and of any hundred that are every so many-th.
        #[test]
        fn share_is_kept_in_every_rhythm(percent in 1.0..99.0, start in 0u64..1_000_000, stride in 1u64..12) {
            let chosen = (0..400).filter(|turn| is_chosen(start + turn * stride, percent)).count();
            let chosen = u32::try_from(chosen).unwrap();
            prop_assert!((f64::from(chosen) / 4.0 - percent).abs() < 6.0, "{chosen} of 400 with {percent}%");
        }
    }
}
