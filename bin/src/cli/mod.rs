//! What every command has in common: how it speaks, and how it ends.

pub mod data;
mod failure;
pub mod interrupt;
mod invocation;
mod memory;
pub mod text;
pub mod threads;
pub mod weights;

pub use failure::{Classified, Failure, Kind, run, usage};
pub use invocation::{Invocation, arguments, quoted, set_arguments, word};
pub use memory::Memory;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kernels::Isa;
use pictures::Fit;
use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::Once;

/// The end of a program: on failure one line on stderr, whatever the names of files hold. Returns its exit code.
pub fn end(result: Result<(), Failure>) -> u8 {
    keep(io::stdout().flush());
    let unprinted = UNPRINTED.lock().ok().and_then(|mut kept| kept.take());
    let printed = match unprinted {
        Some(error) => {
            Err(Failure::new(Kind::File, format!("standard output: cannot write: {error}")))
        }
        None => Ok(()),
    };
    match result.and(printed) {
        Ok(()) => 0,
        Err(failure) => {
            tell(&failure);
            failure.exit
        }
    }
}

/// Tells of a failure: a line on stderr, its object on stdout with `--json`, and its record.
pub fn tell(failure: &Failure) {
    record(failure);
    match failure.kind {
        Kind::Interrupted => note(&failure.message),
        _ => complain("error", &failure.message),
    }
    print_object(failure);
}

/// Prints the object of a failure if the command has the flag `--json`, whatever is wrong with the rest.
pub fn print_object(failure: &Failure) {
    if arguments().iter().any(|argument| argument == "--json") {
        let _ = writeln!(io::stdout(), "{}", failure.to_json());
    }
}

/// Writes the record of a failure where it is wanted.
pub fn record(failure: &Failure) {
    if let Err(error) = failure.record() {
        complain("warning", &error.to_string());
    }
}

/// Writes a line to stderr: what kind of problem, and which.
pub fn complain(kind: &str, problem: &str) {
    note(&format!("{kind}: {}", printable(&shortened(problem))));
}

/// The most letters of a message, which may quote a file: more than a path can have.
const LONGEST: usize = 5000;

/// A message without its middle, if it is longer than anyone reads: what is wrong begins it, and what to do ends it.
pub fn shortened(message: &str) -> Cow<'_, str> {
    let count = message.chars().count();
    if count <= LONGEST {
        return message.into();
    }
    let ends = [LONGEST / 2, count - LONGEST / 2];
    let [first, last] = ends.map(|end| message.char_indices().nth(end).map_or(0, |(at, _)| at));
    format!("{} … {}", &message[..first], &message[last..]).into()
}

/// Says once, on the portable SIMD path, that bits are promised on the others alone.
pub fn warn_of_portable(isa: Isa) {
    static TOLD: Once = Once::new();
    if isa.name() == "portable" {
        TOLD.call_once(|| {
            let problem = "the portable SIMD path rounds sums in other places: the bits are not those of AVX-512 and \
                           AVX2, which are the same everywhere";
            complain("warning", problem);
        });
    }
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

/// Writes text that has its own ends of lines.
pub fn say_all(text: &[u8]) {
    keep(io::stdout().write_all(text));
}

/// The end of a program whose command line clap does not let through: help and version are results,
/// everything else is an error. Returns its exit code.
pub fn stop(error: &clap::Error) -> u8 {
    let shown = error.print();
    if !error.use_stderr() {
        keep(shown);
        return end(Ok(()));
    }
    let failure = command_failure(&error.render().to_string());
    record(&failure);
    print_object(&failure);
    failure.exit
}

/// The failure that clap describes in a text of several paragraphs, the first of which says what is wrong.
pub fn command_failure(text: &str) -> Failure {
    let problem = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    usage(problem.split_whitespace().collect::<Vec<_>>().join(" "))
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

/// The end of a help whose paragraphs follow the width of the terminal: lines that are not indented are joined
/// with those that follow them.
pub fn flowing(text: &str) -> String {
    let mut out = String::new();
    let mut flows = false;
    for line in text.lines() {
        let prose = !line.is_empty() && !line.starts_with(' ');
        out += if out.is_empty() {
            ""
        } else if flows && prose {
            " "
        } else {
            "\n"
        };
        out += line;
        flows = prose;
    }
    out
}

/// An error of a flag if it is given `-`, which other programs take for standard output, in place of a name;
/// `what` it is to name.
pub fn check_name(flag: &str, path: &Path, what: &str) -> Result<(), Failure> {
    if path.as_os_str() == "-" {
        let expected =
            format!("expected the name of a {what}; one that is called - is written as ./-");
        return Err(usage(format!("{flag}: found `-`: {expected}")));
    }
    Ok(())
}

/// What `--fit` takes.
pub fn fit_parser() -> impl TypedValueParser<Value = Fit> {
    PossibleValuesParser::new(Fit::ALL.map(Fit::word)).try_map(|word| word.parse::<Fit>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_beginning_and_an_end() {
        assert_eq!(shortened("grün"), "grün");
        let long = format!("a.csv: found {}, expected b", "ü".repeat(1 << 20));
        let short = shortened(&long);
        assert!(short.starts_with("a.csv: found ü") && short.ends_with("ü, expected b"), "{short}");
        assert_eq!(short.chars().count(), LONGEST + 3);
    }
}
