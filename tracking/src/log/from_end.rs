//! The lines of a file from its last to its first, so that what is wanted of a long log is read and no more.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes that are read at once, at least.
const BLOCK: u64 = 1 << 16;

/// Whole lines of a file, the last first: each without its end, and the position after it. What follows the last
/// end of a line is passed over.
#[derive(Debug)]
pub(crate) struct LinesFromEnd {
    file: File,
    /// Where `bytes` begins in the file.
    start: u64,
    /// What has been read and not been told; but for a first time it ends where a line does.
    bytes: Vec<u8>,
    begun: bool,
}

impl LinesFromEnd {
    /// None if there is no such file.
    pub(crate) fn open(path: &Path) -> io::Result<Option<LinesFromEnd>> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let start = file.seek(SeekFrom::End(0))?;
        Ok(Some(LinesFromEnd { file, start, bytes: vec![], begun: false }))
    }

    /// The line before, and the position after it.
    pub(crate) fn next(&mut self) -> io::Result<Option<(Vec<u8>, u64)>> {
        if !self.begun {
            let length = self.end_of_line(0)?;
            self.bytes.truncate(length.unwrap_or(0));
            self.begun = true;
        }
        if self.bytes.is_empty() && self.start == 0 {
            return Ok(None);
        }
        let first = self.end_of_line(1)?.unwrap_or(0);
        let end = self.start + self.bytes.len() as u64;
        let mut line = self.bytes.split_off(first);
        line.pop();
        Ok(Some((line, end)))
    }

    /// How many of the bytes are up to the last end of a line in them, without as many at their end: more are read
    /// as long as there is none.
    fn end_of_line(&mut self, without: usize) -> io::Result<Option<usize>> {
        // Of what has been looked at in vain nothing is looked at again.
        let mut searched = without;
        loop {
            let looked_at = self.bytes.len().saturating_sub(searched);
            let found = self.bytes[..looked_at].iter().rposition(|byte| *byte == b'\n');
            if found.is_some() || self.start == 0 {
                return Ok(found.map(|place| place + 1));
            }
            searched = self.bytes.len().max(without);
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let count = self.start.min(BLOCK.max(self.bytes.len() as u64));
        self.start -= count;
        self.file.seek(SeekFrom::Start(self.start))?;
        let mut bytes = vec![0; count as usize];
        self.file.read_exact(&mut bytes)?;
        bytes.append(&mut self.bytes);
        self.bytes = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_from_the_beginning() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("log");
        assert!(LinesFromEnd::open(&path).unwrap().is_none());
        let long = "x".repeat(3 * BLOCK as usize + 7);
        let many: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
        let edge = "y".repeat(BLOCK as usize - 1) + "\n";
        let whole =
            ["", "\n", "a\n", "a\nb\n", "\n\na\n\n", &many, &format!("{long}\n{long}\n"), &edge];
        for text in whole
            .map(str::to_owned)
            .iter()
            .flat_map(|t| [t.clone(), format!("{t}torn"), t.clone() + &long])
        {
            std::fs::write(&path, &text).unwrap();
            let mut expected = vec![];
            let mut end = 0;
            for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
                end += line.len() as u64;
                expected.push((line.trim_end_matches('\n').as_bytes().to_vec(), end));
            }
            let mut lines = LinesFromEnd::open(&path).unwrap().unwrap();
            let mut found = vec![];
            while let Some(line) = lines.next().unwrap() {
                found.push(line);
            }
            found.reverse();
            assert!(
                found == expected,
                "{:.40}: {} and {} lines",
                text,
                found.len(),
                expected.len()
            );
        }
    }
}
