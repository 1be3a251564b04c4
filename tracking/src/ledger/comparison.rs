//! A ledger beside the run that is computed again.

use super::{End, Line, Start, Step};
use files::FileError;
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use trainer::recipe::RecipeError;
use trainer::{Event, Observer, Recipe, Stop, TrainError, Trainer};

/// Bytes of a line at most: a recipe is far shorter.
const LONGEST_LINE: u64 = 1 << 20;

/// A ledger that is read, line by line.
pub struct Ledger {
    path: PathBuf,
    lines: Box<dyn BufRead + Send>,
    start: Start,
    /// The number of the last line that was read.
    number: usize,
}

impl Ledger {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Ledger, FileError> {
        let file = File::open(path).map_err(|error| FileError::Io {
            path: path.to_owned(),
            action: "read",
            error,
        })?;
        Ledger::read(path, Box::new(BufReader::new(file)))
    }

    /// One that is part of the program.
    pub(super) fn of_text(name: &str, text: &'static str) -> Result<Ledger, FileError> {
        Ledger::read(Path::new(name), Box::new(Cursor::new(text)))
    }

    fn read(path: &Path, lines: Box<dyn BufRead + Send>) -> Result<Ledger, FileError> {
        let start = Start { recipe: String::new(), data: String::new() };
        let mut ledger = Ledger { path: path.to_owned(), lines, start, number: 0 };
        ledger.start = match ledger.next()? {
            Some(Line::Start(start)) => start,
            _ => return Err(ledger.problem("expected `start`: not a ledger of train --ledger")),
        };
        Ok(ledger)
    }

    /// The recipe of its run: of directories and files it has only the names.
    pub fn recipe(&self) -> Result<Recipe, RecipeError> {
        Recipe::parse(&self.path.display().to_string(), &self.start.recipe, &[])
    }

    /// The fingerprint of the data of its run.
    pub fn data(&self) -> &str {
        &self.start.data
    }

    fn next(&mut self) -> Result<Option<Line>, FileError> {
        let mut text = String::new();
        let read = (&mut self.lines).take(LONGEST_LINE).read_line(&mut text);
        self.number += 1;
        match read {
            Err(error) => Err(FileError::Io { path: self.path.clone(), action: "read", error }),
            Ok(0) => Ok(None),
            // A run that was killed may have left a part of a line.
            Ok(_) if !text.ends_with('\n') => Ok(None),
            Ok(_) => match serde_json::from_str(&text) {
                Ok(line) => Ok(Some(line)),
                Err(error) => Err(self.problem(&format!("not a line of a ledger ({error})"))),
            },
        }
    }

    fn problem(&self, problem: &str) -> FileError {
        FileError::content(&self.path, &format!("line {}: {problem}", self.number))
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Where a run first differs from a ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The step; that after which the model differs, or where one of the two ends.
    pub step: usize,
    /// What differs, in the order in which a step computes it, and both values: that of the ledger first.
    pub what: Vec<(&'static str, String, String)>,
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "step {} is the first that differs: ", self.step)?;
        for (number, (what, expected, found)) in self.what.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            write!(f, "{comma}{what}: found {found}, expected {expected}")?;
        }
        Ok(())
    }
}

/// Compares a run with a ledger, as its observer: the run ends at the first difference, or with the ledger.
#[derive(Debug)]
pub struct Comparison {
    ledger: Ledger,
    next: Option<Line>,
    /// Steps that are the same.
    pub steps: usize,
    /// The digest of the model, once it has been found to be the same.
    pub model: Option<String>,
    /// Where the run first differs.
    pub difference: Option<Difference>,
}

impl Comparison {
    /// With this ledger. An error if it has no step.
    pub fn new(mut ledger: Ledger) -> Result<Comparison, FileError> {
        let next = ledger.next()?;
        if !matches!(next, Some(Line::Step(_))) {
            return Err(ledger.problem("found no `step`, expected one at least"));
        }
        Ok(Comparison { ledger, next, steps: 0, model: None, difference: None })
    }

    fn step(&mut self, trainer: &Trainer<'_>, step: &trainer::Step) -> Result<(), FileError> {
        let now = trainer.progress().step;
        match &self.next {
            // A ledger may begin later, if the run was resumed with it.
            Some(Line::Step(expected)) if self.steps == 0 && expected.step > now => return Ok(()),
            Some(Line::Step(expected)) if expected.step != now => {
                let found = expected.step;
                return Err(self.ledger.problem(&format!("found step {found}, expected {now}")));
            }
            Some(Line::Step(expected)) => {
                let found = Step::of(trainer, step);
                self.difference = difference(expected, &found);
            }
            Some(Line::End(End { step, .. })) => {
                self.difference = Some(other_length(now, step.to_string(), "more".into()));
            }
            Some(Line::Start(_)) => return Err(self.ledger.problem("a second `start`")),
            None => {}
        }
        if self.difference.is_none() {
            self.steps += 1;
            self.next = self.ledger.next()?;
        }
        Ok(())
    }

    fn end(&mut self, trainer: &Trainer<'_>) {
        let step = trainer.progress().step;
        match &self.next {
            Some(Line::End(end)) if end.step == step => {
                let found = trainer.model().digest();
                match found == end.model {
                    true => self.model = Some(found),
                    false => {
                        let what = vec![("model", end.model.clone(), found)];
                        self.difference = Some(Difference { step, what });
                    }
                }
            }
            Some(Line::Step(_) | Line::End(_)) => {
                self.difference = Some(other_length(step, "more".into(), step.to_string()));
            }
            _ => {}
        }
    }
}

impl Observer for Comparison {
    fn observe(
        &mut self,
        trainer: &Trainer<'_>,
        event: Event<'_>,
    ) -> Result<ControlFlow<()>, TrainError> {
        match event {
            Event::Step(step) => self.step(trainer, step)?,
            // The last step may have differed.
            Event::End(stop) if stop != Stop::Interrupted && self.difference.is_none() => {
                self.end(trainer);
            }
            _ => {}
        }
        let is_over = self.difference.is_some() || self.next.is_none();
        Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

fn other_length(step: usize, expected: String, found: String) -> Difference {
    Difference { step, what: vec![("number of steps", expected, found)] }
}

/// What differs, in the order in which it is computed.
fn difference(expected: &Step, found: &Step) -> Option<Difference> {
    let texts = |step: &Step| {
        let Step { step, batch, loss, learning_rate, gradient, weights, optimizer } = step;
        let [loss, rate] = [loss, learning_rate].map(|number| format!("{number:?}"));
        [
            step.to_string(),
            batch.clone(),
            loss,
            gradient.clone(),
            rate,
            optimizer.clone(),
            weights.clone(),
        ]
    };
    let names = ["number", "batch", "loss", "gradient", "learning rate", "optimizer", "weights"];
    let pairs = names.into_iter().zip(texts(expected).into_iter().zip(texts(found)));
    let what: Vec<_> = pairs
        .filter(|(_, (expected, found))| expected != found)
        .map(|(name, (expected, found))| (name, expected, found))
        .collect();
    (!what.is_empty()).then_some(Difference { step: found.step, what })
}
