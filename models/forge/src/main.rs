//! Makes Outpost model packages from GGUF files. See [`outpost_forge`].

use std::process::ExitCode;

fn main() -> ExitCode {
    outpost_forge::cli::main()
}
