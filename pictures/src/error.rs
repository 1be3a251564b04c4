//! What can go wrong with an import.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why nothing was imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The folder of pictures.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// It, or what is wrong in it.
        path: PathBuf,
        /// What was found, and what was expected.
        problem: String,
    },
    /// The place of the data set is taken.
    #[error("{}: {problem}", path.display())]
    Taken {
        /// The place, or what is in the way.
        path: PathBuf,
        /// What was found, and what was expected.
        problem: String,
    },
    /// The data set that was to be imported.
    #[error(transparent)]
    Data(#[from] dataset::DataError),
    /// It was interrupted.
    #[error("interrupted: nothing was imported")]
    Interrupted,
    /// The system refused.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        cause: io::Error,
    },
}

/// Characters of what is wrong that are shown at most: a file may have a line of any length.
const SHOWN: usize = 400;

impl ImportError {
    /// What is wrong with a source. It may quote the source: it stays one line.
    pub(crate) fn of(path: &Path, problem: &str) -> ImportError {
        let mut problem = problem.to_owned();
        if let Some((end, _)) = problem.char_indices().nth(SHOWN) {
            problem.replace_range(end.., "…");
        }
        let problem = problem.replace(char::is_control, " ");
        ImportError::Folder { path: path.into(), problem }
    }
}
