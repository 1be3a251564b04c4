//! Where the Fashion-MNIST files that come with Bobbin are.

use crate::DataError;
use std::env;
use std::path::{Path, PathBuf};

/// Where this crate was compiled, which programs for others do not tell (`scripts/build-release`).
const CRATE: Option<&str> = match option_env!("BOBBIN_WITHOUT_PATHS") {
    Some(_) => None,
    None => Some(env!("CARGO_MANIFEST_DIR")),
};

/// The directory of the bundled Fashion-MNIST.
///
/// It is looked for in the source tree that this crate was compiled in, then in every directory
/// above the executable, then in the current one, so that both `cargo run` and a binary copied
/// together with `data/` find it.
pub(crate) fn bundled_directory() -> Result<PathBuf, DataError> {
    let source_tree = CRATE.and_then(|path| Path::new(path).parent()).map(Path::to_path_buf);
    let executable = env::current_exe().unwrap_or_default();
    let above_executable = executable.ancestors().skip(1).map(Path::to_path_buf);
    let current = env::current_dir().ok();
    source_tree
        .into_iter()
        .chain(above_executable)
        .chain(current)
        .map(|home| home.join("data").join("fashion-mnist"))
        .find(|directory| directory.is_dir())
        .ok_or(DataError::NoBundledData)
}
