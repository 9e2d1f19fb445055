//! The formats of quantized weights: which numbers they hold. How a kernel lays them out is another matter.

/// How a weight's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// One signed byte.
    I8,
    /// Four bits, -7..=7.
    I4,
    /// Four bits, -7..=7, times an integer multiplier 0..=127 for each group of 32 along `k`. The multiplier is the
    /// group's scale in units of the row's scale. Sums stay exact because it is an integer.
    I4Group32,
    /// Two bits, -2..=1, times an integer multiplier -63..=63 for each group of 64 along `k`. The multiplier is the
    /// group's scale in units of the row's scale; its sign says on which side of zero the further level lies. A weight
    /// times its multiplier is an 8-bit number, so sums have the bounds of [`I8`](Self::I8).
    I2Group64,
}

impl WeightFormat {
    /// All formats.
    pub const ALL: [WeightFormat; 4] =
        [WeightFormat::I8, WeightFormat::I4, WeightFormat::I4Group32, WeightFormat::I2Group64];

    /// Number of weights along `k` that share a multiplier; `None` for formats without multipliers.
    pub const fn group(self) -> Option<usize> {
        match self {
            WeightFormat::I8 | WeightFormat::I4 => None,
            WeightFormat::I4Group32 => Some(GROUP),
            WeightFormat::I2Group64 => Some(GROUP_I2),
        }
    }

    /// The largest depth `k` whose sums fit an `i32` for all operands: see [`MAX_DEPTH`] and [`MAX_DEPTH_ZERO_POINT`].
    /// For groups the bound is `k * 127 * 7 * x <= 2^31 - 1`, where `x` is 128 or 255.
    pub const fn max_depth(self, zero_point: bool) -> usize {
        let x = if zero_point { 255 } else { 128 };
        match self {
            WeightFormat::I8 | WeightFormat::I4 | WeightFormat::I2Group64 => i32::MAX as usize / (128 * x),
            WeightFormat::I4Group32 => i32::MAX as usize / (MAX_MULTIPLIER as usize * MAX_I4 as usize * x),
        }
    }
}

/// The largest 4-bit weight. The range is symmetric.
pub const MAX_I4: i8 = 7;

/// Number of 4-bit weights along `k` that share a multiplier.
pub const GROUP: usize = 32;

/// The largest multiplier of a group of 4-bit weights.
pub const MAX_MULTIPLIER: u8 = 127;

/// The least 2-bit weight.
pub const MIN_I2: i8 = -2;

/// The largest 2-bit weight.
pub const MAX_I2: i8 = 1;

/// Number of 2-bit weights along `k` that share a multiplier.
pub const GROUP_I2: usize = 64;

/// The largest multiplier of a group of 2-bit weights. Multipliers have a sign, and the range is symmetric: `-2 * 63` is
/// the least weight times its multiplier, and fits a byte.
pub const MAX_MULTIPLIER_I2: i8 = 63;

/// The largest depth `k` for which no product of `i8` operands can overflow an `i32` sum.
///
/// Each term is at most `(-128) * (-128) = 2^14` in magnitude, and `k * 2^14 <= 2^31 - 1` holds up to `k = 131071`.
pub const MAX_DEPTH: usize = WeightFormat::I8.max_depth(false);

/// The largest depth for activations with a zero point: `q - z` reaches 255 in magnitude, so
/// `k * 128 * 255 <= 2^31 - 1`.
pub const MAX_DEPTH_ZERO_POINT: usize = WeightFormat::I8.max_depth(true);

/// The largest magnitude of an activation in 16 bits: `127 * 256 + 127`. Its two parts are bytes, and so are
/// those of its negative.
pub const MAX_I16_ACTIVATION: i16 = 127 * 256 + 127;

/// The two parts, high and low, of an activation in 16 bits: `value = 256 * high + low`, with `low` in -128..=127.
/// `value` is at most [`MAX_I16_ACTIVATION`].
#[inline]
pub(crate) const fn split_i16(value: i32) -> [i8; 2] {
    // The high part is the nearest multiple of 256, half of which goes up.
    let high = (value + 128) >> 8;
    [high as i8, (value - (high << 8)) as i8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_activation_in_16_bits_has_two_parts() {
        for value in i32::from(i16::MIN)..=i32::from(MAX_I16_ACTIVATION) {
            let [high, low] = split_i16(value).map(i32::from);
            assert_eq!(256 * high + low, value);
        }
        assert_eq!(split_i16(MAX_I16_ACTIVATION.into()), [127, 127]);
        assert_eq!(split_i16((-MAX_I16_ACTIVATION).into()), [-127, -127]);
    }

    #[test]
    fn depth_limits_are_the_largest_that_cannot_overflow() {
        let fits = |k: usize, x: i64| (k as i64) * 128 * x <= i64::from(i32::MAX);
        assert!(fits(MAX_DEPTH, 128) && !fits(MAX_DEPTH + 1, 128));
        assert!(fits(MAX_DEPTH_ZERO_POINT, 255) && !fits(MAX_DEPTH_ZERO_POINT + 1, 255));
    }
}
