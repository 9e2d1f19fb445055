//! Writes the test vectors, or compares them with those in `reference/vectors/`.
//!
//! ```sh
//! cargo run --package skinny-reference
//! cargo run --package skinny-reference -- --check
//! ```

#![forbid(unsafe_code)]

mod vectors;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [option] if option == "--check" => true,
        _ => {
            eprintln!("skinny-reference [--check]");
            return ExitCode::from(2);
        }
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let mut wrong = 0;
    for (name, bytes) in vectors::all() {
        let path = folder.join(name);
        let same = std::fs::read(&path).is_ok_and(|found| found == bytes);
        let result = match (check, same) {
            (true, true) => "as the reference computes it",
            (true, false) => {
                wrong += 1;
                "is not what the reference computes"
            }
            (false, true) => "unchanged",
            (false, false) => match std::fs::write(&path, &bytes) {
                Ok(()) => "written",
                Err(error) => {
                    eprintln!("{}: {error}", path.display());
                    return ExitCode::FAILURE;
                }
            },
        };
        println!("{name:18} {:8} bytes  {result}", bytes.len());
    }
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
