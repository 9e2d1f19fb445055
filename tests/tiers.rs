//! A tier that a CPU has must be tested there: what the crate finds is compared with what the caller knows.

use skinny::Tier;

#[test]
fn the_tiers_are_those_expected_of_this_cpu() {
    let found: Vec<&str> = Tier::available().iter().map(|tier| tier.name()).collect();
    assert_eq!(found[0], "portable");
    match std::env::var("SKINNY_EXPECT_TIERS") {
        Ok(expected) => assert_eq!(found.join(","), expected),
        // Without an expectation, what holds on every machine.
        Err(_) if cfg!(target_arch = "aarch64") => assert!(found.contains(&"neon")),
        Err(_) => assert_eq!(found, ["portable"]),
    }
}
