//! Middleware: components that see an app's requests first.

use super::compose;
use super::engine::{ComponentSource, LoadError};

/// An app's component with these in front, the outermost first. Takes as long as reading all of them.
pub fn behind(middleware: &[ComponentSource], app: &ComponentSource) -> Result<ComponentSource, LoadError> {
    let mut composed = app.clone();
    for outer in middleware.iter().rev() {
        outer.check()?;
        let does_not_fit =
            |message| LoadError::Middleware { file: outer.name.clone(), inner: app.name.clone(), message };
        let (outer, inner) = (outer.bytes.to_vec(), composed.bytes.to_vec());
        composed.bytes = compose::in_front(outer, inner).map_err(does_not_fit)?.into();
    }
    Ok(composed)
}
