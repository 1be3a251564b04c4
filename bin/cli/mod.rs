//! What every program has in common: how it speaks, and how it ends.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

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
    let (problem, code) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(problem)) => (problem, ExitCode::from(2)),
        Err(Failure::Run(problem)) => (problem, ExitCode::FAILURE),
        Err(Failure::Interrupted(text, signal)) => {
            let _ = writeln!(io::stderr(), "{text}");
            return ExitCode::from(128 + signal);
        }
    };
    complain("error", &problem);
    code
}

/// Writes a line to stderr: what kind of problem, and which.
pub fn complain(kind: &str, problem: &str) {
    let _ = writeln!(io::stderr(), "{kind}: {}", printable(problem));
}

/// The text on one line and without control characters, which names of files and classes may hold.
pub fn printable(text: &str) -> String {
    let control = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(control).collect()
}

/// Writes a line. Nobody may be listening any more (`train | head`), but the work is what counts, so it
/// goes on.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
