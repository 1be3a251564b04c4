//! `import`: what `bobbin import` does.

#[global_allocator]
static MEMORY: commands::Memory = commands::Memory;

fn main() -> std::process::ExitCode {
    commands::import()
}
