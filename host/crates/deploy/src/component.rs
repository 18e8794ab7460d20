//! A component to deploy, with its middleware.

use std::sync::Arc;

use sha2::digest::Output;
use sha2::{Digest as _, Sha256};

use linger_wasm::ComponentSource;

/// A component that came in.
#[derive(Clone)]
pub(super) struct UploadedComponent {
    /// Kept for a configuration that wants the same component with other grants.
    pub(super) source: ComponentSource,
    /// Of it alone.
    sha256: Output<Sha256>,
    /// What is in front of it, the outermost first.
    pub(super) middleware: Vec<ComponentSource>,
    /// Tells it from others: its SHA-256 or, with middleware, that of the SHA-256 of all.
    pub(super) digest: Arc<str>,
    /// Whether it is what the file of its app had, and not sent.
    pub(super) from_file: bool,
}

impl UploadedComponent {
    /// Takes as long as the digests of all.
    pub(super) fn new(source: ComponentSource, middleware: Vec<ComponentSource>, from_file: bool) -> Self {
        let sha256 = Sha256::digest(&source.bytes);
        let digest = digest(sha256, &middleware);
        Self { source, sha256, middleware, digest, from_file }
    }

    /// The same behind other middleware. Takes as long as the digests of that.
    pub(super) fn behind(self, middleware: Vec<ComponentSource>) -> Self {
        Self { digest: digest(self.sha256, &middleware), middleware, ..self }
    }
}

/// Of a component with this SHA-256, and what is in front of it.
fn digest(own: Output<Sha256>, middleware: &[ComponentSource]) -> Arc<str> {
    let all = if middleware.is_empty() {
        own
    } else {
        let all = middleware.iter().map(|outer| Sha256::digest(&outer.bytes)).chain([own]);
        all.fold(Sha256::new(), Sha256::chain_update).finalize()
    };
    format!("{all:x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(bytes: &'static str) -> ComponentSource {
        ComponentSource { name: bytes.into(), bytes: bytes.into() }
    }

    #[test]
    fn digest_is_of_all_however_they_came_together() {
        let alone = UploadedComponent::new(source("app"), Vec::new(), true);
        assert_eq!(*alone.digest, format!("{:x}", Sha256::digest("app")));
        let one = UploadedComponent::new(source("app"), vec![source("one")], true);
        let both = UploadedComponent::new(source("app"), vec![source("one"), source("two")], true);
        assert!(alone.digest != one.digest && one.digest != both.digest);
        let moved = one.clone().behind(both.middleware.clone());
        assert_eq!((&moved.digest, moved.middleware.len()), (&both.digest, 2));
        assert_eq!(moved.behind(Vec::new()).digest, alone.digest);
        let other = one.behind(vec![source("two"), source("one")]);
        assert_ne!(other.digest, both.digest, "the order counts");
    }
}
