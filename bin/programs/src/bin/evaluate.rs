//! `evaluate`: what `bobbin evaluate` does.

#[global_allocator]
static MEMORY: commands::Memory = commands::Memory;

fn main() -> std::process::ExitCode {
    commands::evaluate()
}
