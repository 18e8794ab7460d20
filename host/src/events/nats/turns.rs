//! Turns at making a stream: of all that want the same one, one asks NATS, and the others look afterwards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use super::lock;

/// Who makes which stream.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// A turn, which ends when it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    stream: &'a str,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turn at a stream.
    pub(super) async fn wait<'a>(&'a self, stream: &'a str) -> Turn<'a> {
        let line = lock(&self.0).entry(stream.to_owned()).or_default().clone();
        // Who gives up here leaves an entry behind, which goes with the next turn.
        let guard = Some(line.lock_owned().await);
        Turn { turns: self, stream, guard }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = lock(&self.turns.0);
        // That of the map is the only one: nobody waits.
        if turns.get(self.stream).is_some_and(|line| Arc::strong_count(line) == 1) {
            turns.remove(self.stream);
        }
    }
}
