//! The program on a terminal: it shows bars and colours, but not where they are unwanted.

#![cfg(unix)]

mod common;

use std::io::Read;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{KEPT, digits, pytorch};
use expectrl::Session;

/// The program's two streams as a terminal receives them.
fn seen(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("skinny"));
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm-256color").envs(variables.iter().copied()).args(arguments);
    let mut session = Session::spawn(command).expect("a pseudo-terminal");
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    let start = Instant::now();
    // On Linux, reading beyond the end of a terminal is an error.
    while let Ok(len) = session.read(&mut buffer) {
        if len == 0 {
            break;
        }
        seen.extend_from_slice(&buffer[..len]);
        assert!(start.elapsed() < Duration::from_secs(300), "it does not end");
    }
    String::from_utf8_lossy(&seen).into_owned()
}

const BOLD: &str = "\u{1b}[1m";

#[test]
fn a_terminal_shows_a_bar_and_colours() {
    let told = seen(&["bench", &digits(), "--precision", "int8"], &[]);
    assert!(told.contains("timing [") && told.contains("/9"), "{told}");
    assert!(told.contains(BOLD), "{told}");
    assert!(told.contains("real-time factor") || told.contains("predicted per step"), "{told}");
}

#[test]
fn short_work_shows_no_bar() {
    let told = seen(&[&["inspect", &pytorch("gru")][..], &KEPT].concat(), &[]);
    assert!(!told.contains('[') || told.contains(BOLD), "{told}");
    assert!(!told.contains("timing"), "{told}");
}

#[test]
fn no_color_is_respected_and_quiet_is_quiet() {
    let told = seen(&["inspect", &digits()], &[("NO_COLOR", "1")]);
    assert!(!told.contains('\u{1b}'), "{told}");
    let told = seen(&["inspect", "missing.safetensors"], &[]);
    assert!(told.contains("\u{1b}[1m\u{1b}[31mskinny:"), "{told:?}");
    let told = seen(&["--quiet", "bench", "--shape", "gru:256x2"], &[("NO_COLOR", "1")]);
    assert!(!told.contains("timing ["), "{told}");
}

#[test]
fn a_pipe_gets_neither() {
    let output = common::output(&["bench", "--shape", "gru:256x2"]);
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(!told.contains('\u{1b}') && !told.contains("timing ["), "{told}");
}
