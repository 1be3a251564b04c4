//! The program `bobbin`.

#[global_allocator]
static MEMORY: commands::Memory = commands::Memory;

fn main() -> std::process::ExitCode {
    commands::bobbin()
}
