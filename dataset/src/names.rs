//! The files `train-names.txt` and `t10k-names.txt` of a data set: which picture each image was.
//!
//! A line for each image, in their order: the path of the picture in the folder that it came from. Bytes
//! that are no printable text are written as `\xNN`, a backslash as `\\`, so that a line is a line.

use crate::DataError;
use crate::text;
use std::path::{Path, PathBuf};

/// The lines of such a file.
#[derive(Debug)]
pub(crate) struct Names {
    text: String,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl Names {
    /// The names of so many images, if there is a file of names beside them.
    pub fn beside(images: &Path, count: usize) -> Result<Option<Names>, DataError> {
        let Some(path) = path_beside(images) else { return Ok(None) };
        let Some(text) = text::read(&path)? else { return Ok(None) };
        let lines = || text.split_inclusive('\n');
        let found = lines().count();
        if found != count {
            return Err(DataError::Names { path, found, expected: count });
        }
        let mut start = 0;
        let starts = lines().map(|line| {
            start += line.len();
            start - line.len()
        });
        Ok(Some(Names { starts: starts.collect(), text }))
    }

    /// Name `i`; panics if there are not so many.
    pub fn get(&self, i: usize) -> &str {
        let end = self.starts.get(i + 1).copied().unwrap_or(self.text.len());
        self.text[self.starts[i]..end].trim_end_matches(['\n', '\r'])
    }
}

/// `train-names.txt` for `train-images-idx3-ubyte.gz`.
fn path_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let part = &name[..name.rfind("-images")?];
    Some(images.with_file_name(format!("{part}-names.txt")))
}

/// A path as a line of a file of names, without the line's end.
///
/// ```
/// use std::path::Path;
/// assert_eq!(dataset::name_line(Path::new("Coat/grün.png")), "Coat/grün.png");
/// assert_eq!(dataset::name_line(Path::new("a\\b\n")), r"a\\b\x0a");
/// ```
pub fn name_line(path: &Path) -> String {
    let mut line = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => line.push_str(r"\\"),
                c if c.is_control() => {
                    let mut bytes = [0; 4];
                    c.encode_utf8(&mut bytes).bytes().for_each(|byte| push_byte(&mut line, byte));
                }
                c => line.push(c),
            }
        }
        chunk.invalid().iter().for_each(|&byte| push_byte(&mut line, byte));
    }
    line
}

fn push_byte(line: &mut String, byte: u8) {
    line.push_str(&format!("\\x{byte:02x}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lie_beside_the_images() {
        let beside = |name: &str| {
            path_beside(&Path::new("d").join(name)).map(|path| path.display().to_string())
        };
        assert_eq!(beside("train-images-idx3-ubyte").unwrap(), "d/train-names.txt");
        assert_eq!(
            beside("a-images-t10k-images.idx4-ubyte.gz").unwrap(),
            "d/a-images-t10k-names.txt"
        );
        assert_eq!(beside("other"), None);
    }

    #[cfg(unix)]
    #[test]
    fn every_name_is_a_line() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let line = |bytes: &[u8]| name_line(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(line(b"a\xff\n\\\xc2\x85b"), r"a\xff\x0a\\\xc2\x85b");
        let all: Vec<u8> = (1..=255).collect();
        assert!(!line(&all).contains(char::is_control));
    }
}
