//! The end of `metrics.jsonl`, which is all that a run needs that goes on.

use super::from_end::LinesFromEnd;
use super::metrics::{Epoch, Line, cannot_read};
use crate::collapse::Collapse;
use files::FileError;
use std::path::Path;

/// What a run that goes on needs to know of the lines before: the end of them, however many there are.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The last complete epoch.
    pub epoch: Option<Epoch>,
    /// [`Validation::collapsed`] of the last validation.
    pub collapsed: Option<Collapse>,
    /// The last lines, in order.
    pub lines: Vec<Line>,
    /// Whether there are others before them.
    is_part: bool,
}

impl Tail {
    /// As many lines as are kept.
    const LINES: usize = 1000;

    /// Reads the file from its end, as far as is needed; `validates` says whether the run has validations.
    pub(crate) fn read(path: &Path, validates: bool) -> Result<Tail, FileError> {
        let (mut tail, mut found) = (Tail::default(), !validates);
        let mut lines = FromEnd::open(path)?;
        while let Some((line, _)) = lines.next()? {
            match &line {
                Line::Epoch(epoch) if tail.epoch.is_none() => tail.epoch = Some(epoch.clone()),
                Line::Validation(last) if !found => {
                    (tail.collapsed, found) = (last.collapsed.clone(), true);
                }
                _ => {}
            }
            if tail.lines.len() < Tail::LINES {
                tail.lines.push(line);
                continue;
            }
            tail.is_part = true;
            if found && tail.epoch.is_some() {
                break;
            }
        }
        tail.lines.reverse();
        Ok(tail)
    }

    /// The step up to which others may tell of what the lines do not.
    pub(crate) fn step_before(&self) -> usize {
        self.lines.first().filter(|_| self.is_part).map_or(0, Line::step)
    }
}

/// Lines from the last to the first, each with the position of its end; errors name the file.
pub(super) struct FromEnd<'p> {
    path: &'p Path,
    lines: Option<LinesFromEnd>,
}

impl FromEnd<'_> {
    pub(super) fn open(path: &Path) -> Result<FromEnd<'_>, FileError> {
        let lines = LinesFromEnd::open(path);
        Ok(FromEnd { path, lines: lines.map_err(|error| cannot_read(path, error))? })
    }

    /// The line before; whatever is not a line of ours is passed over.
    pub(super) fn next(&mut self) -> Result<Option<(Line, u64)>, FileError> {
        let Some(lines) = &mut self.lines else { return Ok(None) };
        while let Some((line, end)) = lines.next().map_err(|error| cannot_read(self.path, error))? {
            if let Ok(line) = serde_json::from_slice(&line) {
                return Ok(Some((line, end)));
            }
        }
        Ok(None)
    }
}
