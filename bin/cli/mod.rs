//! What every program has in common: how it speaks, and how it ends.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use trainer::DataError;

/// What went wrong, and so with which code to exit.
pub enum Failure {
    /// The command or a recipe: 2.
    Usage(String),
    /// The data, a file, or the work itself: 1.
    Run(String),
    /// A signal asked for the end, and it came in good order: 128 and its number.
    #[allow(dead_code, reason = "not in every program")]
    Interrupted(String, u8),
}

/// An error of the command line or a recipe.
pub fn usage(error: impl Display) -> Failure {
    Failure::Usage(error.to_string())
}

/// An error of the data, a file or the work itself.
pub fn run(error: impl Display) -> Failure {
    Failure::Run(error.to_string())
}

/// The end of a program: on failure one line on stderr, whatever the names of files hold.
pub fn end(result: Result<(), Failure>) -> ExitCode {
    keep(io::stdout().flush());
    let unprinted = UNPRINTED.lock().ok().and_then(|mut kept| kept.take());
    let printed = match unprinted {
        Some(error) => Err(run(format!("standard output: cannot write: {error}"))),
        None => Ok(()),
    };
    let (problem, code) = match result.and(printed) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(problem)) => (problem, ExitCode::from(2)),
        Err(Failure::Run(problem)) => (problem, ExitCode::FAILURE),
        Err(Failure::Interrupted(text, signal)) => {
            note(&text);
            return ExitCode::from(128 + signal);
        }
    };
    complain("error", &problem);
    code
}

/// The file of weights that is meant: of a run directory its model.
#[allow(dead_code, reason = "not in every program")]
pub fn weights_file(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let file = path.join("model.safetensors");
    if !file.exists() {
        let problem = "no model.safetensors in it: expected a run that has ended, or a file";
        return Err(run(format!("{}: {problem}", path.display())));
    }
    Ok(file)
}

/// An error of a data set; of several sets in a directory `flag` chooses one.
#[allow(dead_code, reason = "not in every program")]
pub fn data_failure(error: &DataError, flag: &str) -> Failure {
    match error {
        DataError::SeveralSets { prefixes, .. } => {
            let last = prefixes.last().map_or("", |prefix| prefix);
            run(format!("{error}, for example {flag}{last}"))
        }
        error => run(error),
    }
}

/// Writes a line to stderr: what kind of problem, and which.
pub fn complain(kind: &str, problem: &str) {
    note(&format!("{kind}: {}", printable(problem)));
}

/// Writes a line to stderr.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The text on one line and without control characters, which names of files and classes may hold.
pub fn printable(text: &str) -> String {
    let control = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(control).collect()
}

/// Writes a line. Nobody may be listening any more (`train | head`), or the disk may be full, but the
/// work is what counts, so it goes on; [`end`] tells of the disk.
pub fn say(line: &str) {
    keep(writeln!(io::stdout(), "{line}"));
}

/// The end of a program whose command line clap does not let through: help and version are results,
/// everything else is an error.
pub fn stop(error: &clap::Error) -> ExitCode {
    let shown = error.print();
    if error.use_stderr() {
        return ExitCode::from(2);
    }
    keep(shown);
    end(Ok(()))
}

/// The first error of stdout.
static UNPRINTED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Keeps an error of stdout, unless it is that nobody listens.
fn keep(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        && let Ok(mut kept) = UNPRINTED.lock()
    {
        kept.get_or_insert(error);
    }
}
