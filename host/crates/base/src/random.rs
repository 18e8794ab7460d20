//! Random numbers for names.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A number that differs from process to process. Good for names, not for secrets.
#[must_use]
pub fn random_u32() -> u32 {
    // The standard library seeds its hashers at random; any four bytes are as good as others.
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
