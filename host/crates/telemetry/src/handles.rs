//! The ways to what is counted most.

use std::sync::OnceLock;

/// The first few kinds that come of one family of metrics, which are nearly all: to find the others in their family takes a
/// hash of their labels, and a lock that the threads share.
pub(super) struct MetricHandles<K, M>([OnceLock<(K, M)>; 8]);

impl<K, M> Default for MetricHandles<K, M> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; 8])
    }
}

impl<K: Copy + PartialEq, M> MetricHandles<K, M> {
    /// What is counted of a kind, found by `find` at first. None if it is not among the first few.
    pub(super) fn get(&self, kind: K, find: impl Fn() -> M) -> Option<&M> {
        let taken = |slot: &'_ OnceLock<(K, M)>| slot.get_or_init(|| (kind, find())).0 == kind;
        self.0.iter().find(|slot| taken(slot))?.get().map(|(_, metric)| metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_and_the_last_have_none() {
        let handles = MetricHandles::default();
        for round in 0..2 {
            for kind in 0..8 {
                assert_eq!(handles.get(kind, || (kind, round)), Some(&(kind, 0)));
            }
            assert_eq!(handles.get(8, || (8, round)), None);
        }
    }
}
