//! The commands of the program `bobbin`: arguments → call → exit code, and what is printed.
//!
//! [`bobbin`] is the program with all of them; [`train`], [`evaluate`], [`predict`], [`export`] and
//! [`import`] are programs of one command each. All read the arguments of the process, print, and
//! return what the process is to exit with. [`bobbin_with`] is for a process that has other arguments.

mod cli;
mod compare;
mod evaluate;
mod export;
mod import;
mod manual;
mod predict;
mod steps;
mod train;
mod verify;

pub use cli::{Memory, word};

use clap::{CommandFactory, Parser, Subcommand};
use cli::{Failure, Invocation, arguments};
use std::ffi::OsString;
use std::process::ExitCode;

/// Trains convolutional image classifiers on CPUs, measures them, and puts them to use.
#[derive(Parser)]
#[command(name = "bobbin", version, after_help = AFTER_HELP)]
struct Bobbin {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  bobbin train                                     LeNet, on Fashion-MNIST
  bobbin evaluate --weights runs/fast-1
  bobbin compare runs                              every run in a table
  bobbin verify                                    the published bits, on this machine
  bobbin import pictures --out data/shop           a folder of pictures becomes a data set
  bobbin train --data data/shop
  bobbin predict --weights runs/pictures-1 shirt.jpg";

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Arguments>),
    Evaluate(evaluate::Arguments),
    Predict(predict::Arguments),
    Export(export::Arguments),
    Import(import::Arguments),
    Compare(compare::Arguments),
    Verify(verify::Arguments),
    Completions(manual::Completions),
    Man(manual::Man),
    /// For `Estimator.from_torch` in Python.
    #[command(hide = true)]
    Steps(steps::Arguments),
}

/// The program `bobbin`.
pub fn bobbin() -> ExitCode {
    command().into()
}

/// The program `bobbin`, called with these arguments, its name first, by a process of another program; returns its
/// exit code. It is to be the last that the process does: it takes over the signals that a command handles.
pub fn bobbin_with(arguments: Vec<OsString>) -> u8 {
    cli::set_arguments(arguments);
    command()
}

/// Does the command that the arguments name; returns the exit code.
fn command() -> u8 {
    dataset::install_signal_handlers();
    if let Err(failure) = check_environment() {
        return cli::end(Err(failure));
    }
    let called = Invocation::Bobbin;
    match Bobbin::try_parse_from(arguments()).map(|bobbin| bobbin.command) {
        Ok(Command::Train(arguments)) => train::start(Ok(*arguments), called),
        // Ranks tell of an error together.
        Err(error) if called.is_of("train") => train::start(Err(error), called),
        Err(error) => cli::stop(&error),
        Ok(Command::Evaluate(arguments)) => cli::end(evaluate::evaluate(&arguments)),
        Ok(Command::Predict(arguments)) => predict::start(&arguments),
        Ok(Command::Export(arguments)) => cli::end(export::export(&arguments)),
        Ok(Command::Import(arguments)) => cli::end(import::import(&arguments, called)),
        Ok(Command::Compare(arguments)) => cli::end(compare::compare(&arguments)),
        Ok(Command::Verify(arguments)) => cli::end(verify::verify(&arguments)),
        Ok(Command::Completions(arguments)) => {
            arguments.print(Bobbin::command());
            cli::end(Ok(()))
        }
        Ok(Command::Steps(arguments)) => steps::start(&arguments),
        Ok(Command::Man(arguments)) => cli::end(arguments.write(Bobbin::command())),
    }
}

/// Whether the variables that any command may look at can be understood.
fn check_environment() -> Result<(), Failure> {
    files::Limits::from_env().map(drop).map_err(cli::usage)
}

/// The program `train`.
pub fn train() -> ExitCode {
    if let Err(failure) = check_environment() {
        return cli::end(Err(failure)).into();
    }
    train::start(parse(), Invocation::Program).into()
}

/// The program `evaluate`.
pub fn evaluate() -> ExitCode {
    run(evaluate::evaluate)
}

/// The program `predict`.
pub fn predict() -> ExitCode {
    if let Err(failure) = check_environment() {
        return cli::end(Err(failure)).into();
    }
    match parse() {
        Ok(arguments) => predict::start(&arguments).into(),
        Err(error) => cli::stop(&error).into(),
    }
}

/// The program `export`.
pub fn export() -> ExitCode {
    run(export::export)
}

/// The program `import`.
pub fn import() -> ExitCode {
    run(|arguments| import::import(arguments, Invocation::Program))
}

/// A program of one command.
fn run<A: Parser>(command: impl FnOnce(&A) -> Result<(), Failure>) -> ExitCode {
    match parse() {
        Ok(arguments) => cli::end(check_environment().and_then(|()| command(&arguments))).into(),
        Err(error) => cli::stop(&error).into(),
    }
}

/// The arguments of a program of one command.
fn parse<A: Parser>() -> Result<A, clap::Error> {
    dataset::install_signal_handlers();
    let program = A::command().version(env!("CARGO_PKG_VERSION"));
    program.try_get_matches_from(arguments()).and_then(|matches| A::from_arg_matches(&matches))
}
