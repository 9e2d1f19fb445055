//! The table of kernels: the tables of all kernel files, one after the other. Driver and tests look kernels up here.

use cfg_if::cfg_if;

use super::micro::Family;
use super::portable;
use super::tier::Supported;
use crate::format::WeightFormat;

cfg_if! {
    if #[cfg(kernel_aarch64)] {
        use super::aarch64::TABLES;
    } else {
        static TABLES: [&[Family]; 0] = [];
    }
}

/// Every family that this target can be built with.
pub(crate) fn families() -> impl Iterator<Item = &'static Family> {
    portable::FAMILIES.iter().chain(TABLES.iter().copied().flatten())
}

/// The family of a tier and weight format. Each tier has every format.
pub(crate) fn select(tier: Supported, format: WeightFormat) -> &'static Family {
    families()
        .find(|family| family.tier == tier.tier() && family.format == format)
        .expect("the table has an entry for each tier of the target and each format (tested)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::Tier;

    #[test]
    fn the_table_is_complete_and_unambiguous() {
        for &tier in Tier::available() {
            for format in WeightFormat::ALL {
                let found = families().filter(|family| family.tier == tier && family.format == format);
                assert_eq!(found.count(), 1, "{tier} {format:?}");
            }
        }
    }

    /// The shape is panel rows, weight run and activation run. Each tier must have kernels of its own: another tier's
    /// kernels would give the same sums.
    #[test]
    fn each_tier_has_its_own_kernels() {
        for (tier, format, shape) in [
            (Tier::Portable, WeightFormat::I8, [4, 16, 16]),
            (Tier::Portable, WeightFormat::I4, [4, 16, 16]),
            (Tier::Portable, WeightFormat::I2Group64, [4, 16, 16]),
            (Tier::Neon, WeightFormat::I8, [4, 16, 16]),
            (Tier::Neon, WeightFormat::I4, [8, 16, 16]),
            (Tier::Neon, WeightFormat::I2Group64, [8, 16, 16]),
            (Tier::Dotprod, WeightFormat::I8, [16, 4, 16]),
            (Tier::Dotprod, WeightFormat::I4, [16, 4, 16]),
            (Tier::Dotprod, WeightFormat::I2Group64, [16, 4, 16]),
            (Tier::I8mm, WeightFormat::I8, [8, 8, 8]),
            (Tier::I8mm, WeightFormat::I4, [16, 4, 8]),
            (Tier::I8mm, WeightFormat::I2Group64, [16, 4, 8]),
        ] {
            let Ok(supported) = tier.supported() else { continue };
            let family = select(supported, format);
            let layout = family.layout;
            assert_eq!([layout.panel_rows, layout.weight_run, layout.activation_run], shape, "{tier} {format:?}");
            assert_eq!(family.extreme.is_some(), (tier, format) == (Tier::Neon, WeightFormat::I8), "{tier} {format:?}");
            for other in families().filter(|other| !core::ptr::eq(*other, family)) {
                for (&kernel, &other_kernel) in family.kernels.iter().zip(&other.kernels) {
                    assert!(
                        !core::ptr::fn_addr_eq(kernel, other_kernel),
                        "{tier} {format:?}: {} {:?}",
                        other.tier,
                        other.format
                    );
                }
            }
        }
    }
}
