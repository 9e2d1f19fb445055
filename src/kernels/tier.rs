//! Which kernels this machine can run. This is the only place that asks the processor.

use core::str::FromStr;

use cfg_if::cfg_if;

use crate::error::{Error, Result};
use crate::tier::Tier;

cfg_if! {
    // Miri runs only the portable tier. The other tiers have kernels in assembly, which it does not interpret.
    if #[cfg(all(kernel_aarch64, not(miri)))] {
        use super::aarch64::detect::best;
    } else {
        fn best() -> Tier {
            Tier::Portable
        }
    }
}

impl Tier {
    /// The tiers that this machine can run, plainest first.
    pub fn available() -> &'static [Tier] {
        const { assert!(Tier::ALL[Tier::I8mm as usize] as usize == Tier::I8mm as usize) };
        &Self::ALL[..=best() as usize]
    }

    /// Whether this machine can run the tier.
    pub fn is_available(self) -> bool {
        self <= best()
    }

    /// The tier to pack weights for: the one that the environment variable `SKINNY_TIER` names, otherwise the best.
    ///
    /// The variable is read once, at the first call. An empty value counts as not set. Without the feature `std` there
    /// is no environment.
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

/// A tier that this machine supports. Only [`Tier::supported`] makes one, so holding it proves that the tier's
/// instructions exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Supported(Tier);

impl Supported {
    pub(crate) fn tier(self) -> Tier {
        self.0
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
