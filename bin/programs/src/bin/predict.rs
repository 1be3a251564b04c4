//! `predict`: what `bobbin predict` does.

#[global_allocator]
static MEMORY: commands::Memory = commands::Memory;

fn main() -> std::process::ExitCode {
    commands::predict()
}
