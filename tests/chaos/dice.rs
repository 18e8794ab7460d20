//! What a round does is random, and the same each time with the same seed.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// From the event to both sides.
const SPREAD: Duration = Duration::from_micros(SPREAD_MICROS);
const SPREAD_MICROS: u64 = 5_000;

/// One in so many moments is the very same as the event's.
const TOGETHER: u64 = 4;

/// A source of random numbers: splitmix64.
pub(super) struct Dice(u64);

/// When what happens in a round.
pub(super) struct Moments {
    pub(super) poll: Instant,
    pub(super) push: Instant,
    /// Not before the poll.
    pub(super) leave: Instant,
}

/// That of `LINGER_SEED`, or another one each time.
pub(super) fn seed() -> u64 {
    match std::env::var("LINGER_SEED") {
        Ok(seed) => seed.parse().expect("LINGER_SEED is a number"),
        Err(_) => RandomState::new().hash_one(0) % 1_000_000_000,
    }
}

impl Dice {
    pub(super) fn new(seed: u64, lane: usize) -> Self {
        let mut dice = Self(seed);
        Self(dice.next() ^ lane as u64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// The length of an event: most fit in a packet, and few not in the windows of a connection.
    pub(super) fn length(&mut self) -> usize {
        let limit = self.pick(&[20, 20, 20, 1_000, 1_000, 20_000, 20_000, 300_000]);
        self.below(limit)
    }

    /// A poll and its leaving around an event that comes in a moment.
    pub(super) fn moments(&mut self) -> Moments {
        let push = Instant::now() + SPREAD;
        let mut around = || {
            let micros = self.next() % (2 * SPREAD_MICROS);
            if self.next().is_multiple_of(TOGETHER) {
                push
            } else {
                push - SPREAD + Duration::from_micros(micros)
            }
        };
        let poll = around();
        Moments { poll, push, leave: around().max(poll) }
    }
}

/// Waits for a moment, to the microsecond where the machine has the time: the runtime's clock goes by milliseconds.
pub(super) async fn at(moment: Instant) {
    sleep_until(moment - Duration::from_millis(1)).await;
    while Instant::now() < moment {
        tokio::task::yield_now().await;
    }
}
