//! Which kernels this machine can run: the only place that asks the processor.

use core::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// A family of kernels, by the instructions it needs. Every variant exists on every target; only availability
/// differs. Each tier implies those before it.
///
/// With the feature `std` the operating system is asked which there are. On Windows the standard library of Rust 1.95
/// does not detect `FEAT_I8MM`, so the best tier there is [`Dotprod`](Tier::Dotprod). Without `std` the tier is the one
/// that the program was compiled for (`-C target-feature=+dotprod,+i8mm`).
///
/// Targets with pointers of 32 bits (`arm64_32`, ILP32) and big-endian ones have the portable tier alone, and so does
/// Miri.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// Plain Rust, any target: the oracle that the others must equal.
    Portable,
    /// AArch64 Advanced SIMD: `smull`, `smlal2`, `sadalp`. Cortex-A53, A72 and every other AArch64 core.
    Neon,
    /// `FEAT_DotProd`: `sdot`. Cortex-A55, A75, A76 and later.
    Dotprod,
    /// `FEAT_I8MM` (and `FEAT_DotProd`): `smmla`. Neoverse V1 and N2, Cortex-A510 and A710, and later.
    I8mm,
}

impl Tier {
    /// All tiers, the plainest first.
    pub const ALL: [Tier; 4] = [Tier::Portable, Tier::Neon, Tier::Dotprod, Tier::I8mm];

    /// The name that `SKINNY_TIER` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Portable => "portable",
            Tier::Neon => "neon",
            Tier::Dotprod => "dotprod",
            Tier::I8mm => "i8mm",
        }
    }

    /// The tiers this machine can run, the plainest first.
    pub fn available() -> &'static [Tier] {
        const { assert!(Tier::ALL[Tier::I8mm as usize] as usize == Tier::I8mm as usize) };
        &Self::ALL[..=best() as usize]
    }

    /// Whether this machine can run the tier.
    pub fn is_available(self) -> bool {
        self <= best()
    }

    /// The tier to pack weights for: the one that the environment variable `SKINNY_TIER` names, else the best.
    /// The variable is read once, at the first call; empty counts as not set. Without the feature `std` there is no
    /// environment.
    ///
    /// # Errors
    /// [`Error::TierUnknown`] or [`Error::TierUnavailable`] if the variable names a tier that does not exist or that
    /// this machine lacks.
    pub fn select() -> Result<Tier> {
        #[cfg(feature = "std")]
        {
            use std::{env, sync::OnceLock};
            static SELECTED: OnceLock<Result<Tier>> = OnceLock::new();
            SELECTED
                .get_or_init(|| match env::var_os("SKINNY_TIER").filter(|name| !name.is_empty()) {
                    None => Ok(best()),
                    Some(name) => {
                        name.to_str().ok_or(Error::TierUnknown)?.parse::<Tier>()?.supported().map(|s| s.tier())
                    }
                })
                .clone()
        }
        #[cfg(not(feature = "std"))]
        Ok(best())
    }

    /// Proof that this machine runs the tier.
    pub(crate) fn supported(self) -> Result<Supported> {
        if self.is_available() {
            Ok(Supported(self))
        } else {
            Err(Error::TierUnavailable { tier: self, available: Self::available() })
        }
    }
}

/// A tier that this machine was seen to support. Only [`Tier::supported`] makes one, so holding it is the proof that
/// the tier's instructions exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Supported(Tier);

impl Supported {
    pub(crate) fn tier(self) -> Tier {
        self.0
    }
}

/// The best tier of this machine. `std` caches what it asked the operating system.
///
/// Miri runs the portable tier alone: others have kernels in assembly, which it does not interpret.
fn best() -> Tier {
    #[cfg(all(kernel_aarch64, not(miri)))]
    {
        #[cfg(feature = "std")]
        let (dotprod, i8mm) =
            (std::arch::is_aarch64_feature_detected!("dotprod"), std::arch::is_aarch64_feature_detected!("i8mm"));
        #[cfg(not(feature = "std"))]
        let (dotprod, i8mm) = (cfg!(target_feature = "dotprod"), cfg!(target_feature = "i8mm"));
        match (dotprod, i8mm) {
            (true, true) => Tier::I8mm,
            (true, false) => Tier::Dotprod,
            (false, _) => Tier::Neon,
        }
    }
    #[cfg(not(all(kernel_aarch64, not(miri))))]
    Tier::Portable
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Tier {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Tier::ALL.into_iter().find(|tier| tier.name() == name).ok_or(Error::TierUnknown)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn names_parse_back() {
        for tier in Tier::ALL {
            assert_eq!(tier.to_string().parse(), Ok(tier));
        }
        assert_eq!("sse".parse::<Tier>(), Err(Error::TierUnknown));
    }

    #[test]
    fn a_tier_beyond_the_best_is_refused_with_those_there_are() {
        assert!(Tier::available().contains(&Tier::Portable));
        for tier in Tier::ALL {
            assert_eq!(tier.is_available(), Tier::available().contains(&tier));
            match tier.supported() {
                Ok(proof) => assert_eq!(proof.tier(), tier),
                Err(error) => {
                    assert!(!tier.is_available());
                    assert_eq!(error, Error::TierUnavailable { tier, available: Tier::available() });
                }
            }
        }
    }
}
