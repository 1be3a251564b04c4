//! Paths below the user's home directory without its name, which is often the user's.

use std::env::home_dir;
use std::path::{Path, PathBuf};

/// `~/data` for `/home/alice/data` where that is the home directory of whoever runs the program; others, and what
/// would not be read as it was, stay.
#[must_use]
pub fn shortened(path: &Path) -> PathBuf {
    home().and_then(|home| below(path, &home)).unwrap_or_else(|| path.to_owned())
}

/// The path for which [`shortened`] gave this, if the home directory is still the same one.
#[must_use]
pub fn expanded(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

fn below(path: &Path, home: &Path) -> Option<PathBuf> {
    Some(Path::new("~").join(path.strip_prefix(home).ok()?))
}

/// The root of all paths is nobody's home.
fn home() -> Option<PathBuf> {
    home_dir().filter(|home| home.is_absolute() && home.parent().is_some())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shortened_is_expanded() {
        let Some(home) = home() else { return };
        for name in ["data", "a/b c", "~"] {
            let path = home.join(name);
            assert_eq!(shortened(&path), Path::new("~").join(name));
            assert_eq!(expanded(&shortened(&path)), path);
        }
        for path in ["/elsewhere/data", "data", "./~", "~alice/data"].map(Path::new) {
            assert_eq!((shortened(path), expanded(path)), (path.to_owned(), path.to_owned()));
        }
        let beside = home.with_file_name("another-user").join("data");
        assert_eq!(below(&beside, &home), None);
    }
}
