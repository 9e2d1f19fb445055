//! The tiers of this machine are those that the job expects, so that none can go untested unnoticed.

use skinny::Tier;

/// `SKINNY_EXPECT_TIERS` lists them, separated by commas, e.g. `portable,neon,dotprod`. Without it any will do.
#[test]
fn the_tiers_are_those_expected() {
    let Some(expected) = std::env::var_os("SKINNY_EXPECT_TIERS") else { return };
    let expected = expected.into_string().expect("SKINNY_EXPECT_TIERS is text");
    let expected: Vec<Tier> = expected.split(',').map(|name| name.parse().expect(name)).collect();
    assert_eq!(Tier::available(), expected, "tiers of this machine, and those in SKINNY_EXPECT_TIERS");
}
