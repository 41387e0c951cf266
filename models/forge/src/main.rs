//! Makes Outpost model packages from published models. See [`outpost_forge`].

use std::process::ExitCode;

fn main() -> ExitCode {
    outpost_forge::cli::main()
}
