//! `bobbin completions` and `bobbin man`: what a shell and `man` want to know of the program.

use crate::cli::{Failure, Kind, run, say_all};
use clap_complete::Shell;
use files::write_file;
use std::path::PathBuf;

/// Prints what a shell needs to complete the commands of bobbin and their flags
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bobbin completions bash > ~/.local/share/bash-completion/completions/bobbin
  bobbin completions zsh > ~/.zfunc/_bobbin              where fpath has ~/.zfunc
  bobbin completions fish > ~/.config/fish/completions/bobbin.fish")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Writes the manual pages of bobbin and its commands
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  bobbin man ~/.local/share/man/man1                     then: man bobbin-train")]
pub struct Man {
    /// The directory to write them to, made if there is none
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Completions {
    /// Prints them.
    pub fn print(&self, mut program: clap::Command) {
        let mut text = vec![];
        clap_complete::generate(self.shell, &mut program, "bobbin", &mut text);
        say_all(&text);
    }
}

impl Man {
    /// Writes them.
    pub fn write(&self, program: clap::Command) -> Result<(), Failure> {
        let failure = |error| {
            let directory = self.directory.display();
            Failure::new(Kind::File, format!("{directory}: cannot write: {error}"))
        };
        std::fs::create_dir_all(&self.directory).map_err(failure)?;
        let mut program = program.disable_help_subcommand(true);
        program.build();
        let pages = program.get_subcommands().chain([&program]);
        for (name, page) in pages.map(|command| page(command.clone())) {
            write_file(&self.directory.join(name), &page).map_err(run)?;
        }
        Ok(())
    }
}

/// The name and the text of the page of a command. What follows its flags in the help is written here, as
/// clap_mangen would fill the lines of tables and examples.
fn page(command: clap::Command) -> (String, Vec<u8>) {
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let command = command.after_help(None::<&str>).disable_version_flag(true).version(None::<&str>);
    let man = clap_mangen::Man::new(command).source(concat!("bobbin ", env!("CARGO_PKG_VERSION")));
    let mut text = vec![];
    man.render(&mut text).expect("memory takes all that is written");
    text.extend_from_slice(format!(".SH NOTES\n{}", roff(&notes)).as_bytes());
    (man.get_filename(), text)
}

/// Text as roff: lines that are indented stay as they are, others are filled.
fn roff(text: &str) -> String {
    let mut out = String::new();
    let mut verbatim = false;
    for line in text.lines() {
        if line.starts_with(' ') != verbatim {
            verbatim = !verbatim;
            out += if verbatim { ".nf\n" } else { ".fi\n" };
        }
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        out += &match line.chars().next() {
            None => ".PP\n".to_owned(),
            Some('.' | '\'') => format!("\\&{line}\n"),
            Some(_) => format!("{line}\n"),
        };
    }
    out + if verbatim { ".fi\n" } else { "" }
}
