//! A tier that a CPU has must be tested on it, so the tier that the crate finds is compared with the one that the
//! caller expects.

use skinny::Tier;

#[test]
fn the_tiers_are_those_expected_of_this_cpu() {
    let found: Vec<&str> = Tier::available().iter().map(|tier| tier.name()).collect();
    assert_eq!(found[0], "portable");
    match std::env::var("SKINNY_EXPECT_TIERS") {
        Ok(expected) => assert_eq!(found.join(","), expected),
        // Without an expectation, checks only what holds on every machine.
        Err(_) if cfg!(target_arch = "aarch64") => assert!(found.contains(&"neon")),
        Err(_) => assert_eq!(found, ["portable"]),
    }
}

/// Without the feature `std` there is no environment to read.
#[cfg(feature = "std")]
mod skinny_tier {
    use std::process::Command;

    use skinny::kernels::{Activations, PackedMat, Sums, Workspace, gemm};
    use skinny::{MatMut, MatRef, Tier};

    /// Runs the test below alone, in a new process of this program, and returns what it printed. `SKINNY_TIER` is
    /// read once per process, so each value needs its own.
    fn with_skinny_tier(value: &str) -> String {
        let program = std::env::current_exe().unwrap();
        // Under an emulator the program can only start itself the way cargo started it.
        let runner = match cfg!(all(target_arch = "aarch64", target_os = "linux")) {
            true => std::env::var("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER").unwrap_or_default(),
            false => String::new(),
        };
        let mut words = runner.split_whitespace();
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(["--exact", "skinny_tier::report_the_selected_tier", "--ignored", "--nocapture"])
            .env("SKINNY_TIER", value);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let report = stdout.lines().find_map(|line| line.split_once("selected: "));
        report.unwrap_or_else(|| panic!("{stdout}")).1.to_owned()
    }

    #[test]
    #[ignore = "the tests of SKINNY_TIER start it"]
    fn report_the_selected_tier() {
        let selected = Tier::select();
        let packed = PackedMat::new(MatRef::row_vector(&[1, 2, 3]));
        assert_eq!(packed.as_ref().map(PackedMat::tier), selected.as_ref().copied());
        match packed {
            Ok(packed) => {
                let mut out = [0];
                let x = Activations::new(MatRef::row_vector(&[1, 1, 2]));
                gemm(&packed, x, &Sums, MatMut::row_vector(&mut out), &mut Workspace::new()).unwrap();
                assert_eq!(out, [9]);
                println!("selected: {}", packed.tier());
            }
            Err(error) => println!("selected: {error}"),
        }
    }

    #[test]
    fn selects_a_tier_of_this_machine() {
        for tier in Tier::available() {
            assert_eq!(with_skinny_tier(tier.name()), tier.name());
        }
    }

    #[test]
    fn that_is_empty_counts_as_not_set() {
        let best = Tier::available().last().unwrap();
        assert_eq!(with_skinny_tier(""), best.name());
    }

    #[test]
    fn of_another_machine_is_an_error_that_lists_those_there_are() {
        let available: Vec<&str> = Tier::available().iter().map(|tier| tier.name()).collect();
        for tier in Tier::ALL.into_iter().filter(|tier| !tier.is_available()) {
            let expected = format!("this machine has no kernel tier {tier}; it has {}", available.join(", "));
            assert_eq!(with_skinny_tier(tier.name()), expected);
        }
    }

    #[test]
    fn that_names_no_tier_is_an_error_that_lists_the_names() {
        for name in ["sse", " ", "NEON", "neon "] {
            let expected = "unknown kernel tier (SKINNY_TIER takes portable|neon|dotprod|i8mm)";
            assert_eq!(with_skinny_tier(name), expected, "{name:?}");
        }
    }
}
