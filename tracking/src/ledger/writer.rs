//! Writing a ledger.

use super::{End, Line, Start, Step};
use crate::log::appender::Appender;
use crate::log::from_end::LinesFromEnd;
use files::{FileError, sync_directory};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use trainer::Trainer;

/// Writes the ledger of a run.
#[derive(Debug)]
pub(crate) struct LedgerWriter {
    log: Appender,
}

impl LedgerWriter {
    /// A new file, or in the place of another; if the trainer goes on after a step, a ledger of its run goes on
    /// after that step too.
    pub(crate) fn open(path: &Path, trainer: &Trainer<'_>) -> Result<LedgerWriter, FileError> {
        let start = Start::of(trainer);
        let step = trainer.progress().step;
        let length = if step == 0 { 0 } else { length_up_to(path, &start, step)? };
        let mut writer = LedgerWriter { log: Appender::after(path.to_owned(), length)? };
        if length == 0 {
            writer.write(&Line::Start(start))?;
        }
        writer.log.flush()?;
        path.parent().map_or(Ok(()), sync_directory)?;
        Ok(writer)
    }

    pub(crate) fn step(
        &mut self,
        trainer: &Trainer<'_>,
        step: &trainer::Step,
    ) -> Result<(), FileError> {
        self.write(&Line::Step(Step::of(trainer, step)))
    }

    /// The model is written, and the run complete.
    pub(crate) fn end(&mut self, trainer: &Trainer<'_>) -> Result<(), FileError> {
        let (step, model) = (trainer.progress().step, trainer.model().digest());
        self.write(&Line::End(End { step, model }))
    }

    /// Waits until everything told so far is on the disk.
    pub(crate) fn sync(&mut self) -> Result<(), FileError> {
        self.log.sync()
    }

    fn write(&mut self, line: &Line) -> Result<(), FileError> {
        self.log.append(|out| {
            out.extend(line.to_json().as_bytes());
            out.push(b'\n');
        })
    }
}

/// The length of a ledger up to this step; none if there is no such file, or nothing in it.
fn length_up_to(path: &Path, start: &Start, step: usize) -> Result<u64, FileError> {
    let cannot = |error| FileError::Io { path: path.to_owned(), action: "read", error };
    let Some(mut lines) = LinesFromEnd::open(path).map_err(cannot)? else { return Ok(0) };
    let mut first = String::new();
    let file = File::open(path).map_err(cannot)?;
    BufReader::new(file).read_line(&mut first).map_err(cannot)?;
    if first.is_empty() {
        return Ok(0);
    }
    match serde_json::from_str(&first) {
        Ok(Line::Start(found)) if found == *start => {}
        Ok(Line::Start(found)) => {
            let what = if found.data == start.data { "another recipe" } else { "other data" };
            let problem =
                format!("a ledger of {what}: expected a new file, or the ledger of this run");
            return Err(FileError::content(path, &problem));
        }
        _ => {
            let problem = "not a ledger: expected a new file, or the ledger of this run";
            return Err(FileError::content(path, problem));
        }
    }
    while let Some((line, end)) = lines.next().map_err(cannot)? {
        match serde_json::from_slice(&line) {
            Ok(Line::Step(found)) if found.step <= step => return Ok(end),
            Ok(Line::Start(_)) => return Ok(end),
            // Of later steps, the end, or damaged.
            _ => {}
        }
    }
    Ok(0)
}
