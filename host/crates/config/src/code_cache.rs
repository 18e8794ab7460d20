//! The cache of compiled code.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// The cache of compiled code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "String")]
#[schemars(example = &"none")]
pub enum CodeCache {
    /// In the user's or the service's cache directory.
    #[default]
    Usual,
    /// In this directory.
    Directory(PathBuf),
    /// Nowhere.
    None,
}

impl From<String> for CodeCache {
    fn from(text: String) -> Self {
        if text == "none" { Self::None } else { Self::Directory(text.into()) }
    }
}

impl Serialize for CodeCache {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Usual => output.serialize_none(),
            Self::Directory(directory) => directory.serialize(output),
            Self::None => output.serialize_str("none"),
        }
    }
}

impl CodeCache {
    pub(super) fn complete(&mut self, folder: &Path) {
        if let Self::Directory(directory) = self {
            *directory = folder.join(&*directory);
        }
    }

    /// The directory, if there is one. `variable` gives the value of an environment variable.
    #[must_use]
    pub fn directory(&self, variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
        // The XDG specification ignores relative paths.
        let absolute = |name| variable(name).filter(|path| path.is_absolute());
        match self {
            Self::Directory(directory) => Some(directory.clone()),
            Self::None => None,
            Self::Usual => absolute("CACHE_DIRECTORY").or_else(|| {
                let user = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
                Some(user?.join("linger"))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_directory_is_the_first_that_is_named() {
        let usual = |set: &[(&str, &str)]| {
            CodeCache::Usual.directory(|name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
            })
        };
        let all = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("CACHE_DIRECTORY", "/c")];
        assert_eq!(usual(&all), Some("/c".into()));
        assert_eq!(usual(&all[..2]), Some("/x/linger".into()));
        assert_eq!(usual(&all[..1]), Some("/h/.cache/linger".into()));
        assert_eq!(usual(&[("HOME", "h")]), None);
        assert_eq!(usual(&[]), None);
    }
}
