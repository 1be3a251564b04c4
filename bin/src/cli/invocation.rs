//! How the program was called, so that what it says to do next can be typed as it stands.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError, RwLock};

/// What the program was called with, if not with the arguments of the process.
static GIVEN: OnceLock<RwLock<Vec<OsString>>> = OnceLock::new();

/// What the program was called with, its name first.
pub fn arguments() -> Vec<OsString> {
    match GIVEN.get() {
        Some(given) => given.read().unwrap_or_else(PoisonError::into_inner).clone(),
        None => std::env::args_os().collect(),
    }
}

/// Takes these for what the program was called with, from now on.
pub fn set_arguments(arguments: Vec<OsString>) {
    let given = GIVEN.get_or_init(RwLock::default);
    *given.write().unwrap_or_else(PoisonError::into_inner) = arguments;
}

/// How the command was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// As `bobbin COMMAND`.
    Bobbin,
    /// As a program of its own.
    Program,
}

impl Invocation {
    /// The words with which a shell calls a command as this one was called.
    pub fn words(self, command: &str) -> String {
        let program = arguments().into_iter().next().map(PathBuf::from);
        match self {
            Invocation::Bobbin => {
                let program = program.unwrap_or_else(|| "bobbin".into());
                format!("{} {command}", word(&program))
            }
            Invocation::Program => {
                let program = program.unwrap_or_default();
                word(&program.with_file_name(command))
            }
        }
    }

    /// What followed these words.
    pub fn arguments(self) -> impl Iterator<Item = OsString> {
        let words = match self {
            Invocation::Bobbin => 2,
            Invocation::Program => 1,
        };
        arguments().into_iter().skip(words)
    }

    /// Whether the first argument is the name of this command.
    pub fn is_of(self, command: &str) -> bool {
        self == Invocation::Bobbin && arguments().get(1).is_some_and(|word| word == command)
    }
}

/// A path as a word for a shell, that is no flag.
pub fn word(path: &Path) -> String {
    match path.as_os_str().as_encoded_bytes().starts_with(b"-") {
        true => quoted(Path::new(".").join(path).as_os_str()),
        false => quoted(path.as_os_str()),
    }
}

/// Text as a word for a shell. What is not UTF-8 or has control characters is in the quotes of bash, zsh and
/// ksh: `$'nu\xff'`.
pub fn quoted(text: &OsStr) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=,:@%".contains(c);
    match text.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Some(text) if !text.contains(char::is_control) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => format!("$'{}'", escaped(text.as_encoded_bytes())),
    }
}

/// What stands between `$'` and `'`: bytes that cannot be shown as `\xff`.
fn escaped(bytes: &[u8]) -> String {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let one = |c: char| match c {
        '\'' | '\\' => format!("\\{c}"),
        c if c.is_control() => hexadecimal(c.encode_utf8(&mut [0; 4]).as_bytes()),
        c => c.into(),
    };
    let part = |part: std::str::Utf8Chunk<'_>| {
        part.valid().chars().map(one).collect::<String>() + &*hexadecimal(part.invalid())
    };
    bytes.utf8_chunks().map(part).collect()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_a_shell_reads_again() {
        use std::os::unix::ffi::OsStrExt;
        let names: [(&[u8], &str); 8] = [
            (b"runs/fast-1", "runs/fast-1"),
            (b"it's", r"'it'\''s'"),
            (b"-x", "./-x"),
            (b"-x y", "'./-x y'"),
            (b"nu\xff x/o", r"$'nu\xff x/o'"),
            (b"-\xff", r"$'./-\xff'"),
            (b"a'\\\xe9b", r"$'a\'\\\xe9b'"),
            (b"two\nlines", r"$'two\x0alines'"),
        ];
        for (name, expected) in names {
            let word = word(Path::new(OsStr::from_bytes(name)));
            assert_eq!(word, expected);
            let mut shell = std::process::Command::new("bash");
            let read = shell.args(["-c", &format!("printf %s {word}")]).output().unwrap().stdout;
            assert_eq!(read.strip_prefix(b"./").unwrap_or(&read), name, "{word}");
        }
    }
}
