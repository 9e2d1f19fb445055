//! Integer rounding modes: from the sum of a product to an integer, before the clamp to a byte.

/// A rounding mode with the parameters of an output feature.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the parameters are those of the formulas")]
pub enum Rounding {
    /// farm's and gemmlowp's. The shift is 0..=31.
    Shift { offset: i32, multiplier: i32, shift: u32 },
    /// gemmlowp's. The shift is 0..=31.
    FixedPoint { multiplier: i32, shift: u32, offset: i32 },
    /// TFLite's. The exponent is -31..=30.
    DoubleRounding { multiplier: i32, exponent: i32, zero_point: i32 },
    /// TFLite's and ruy's. The exponent is -31..=30.
    SingleRounding { multiplier: i32, exponent: i32, zero_point: i32 },
}

impl Rounding {
    /// The rounded sum.
    pub fn round(self, sum: i32) -> i32 {
        // Wide enough for all that follows.
        let sum = i128::from(sum);
        match self {
            Self::Shift { offset, multiplier, shift } => {
                let t = i128::from(modulo((sum + i128::from(offset)) * i128::from(multiplier)));
                let half = if shift == 0 { 0 } else { 1 << (shift - 1) };
                modulo((t + half) >> shift)
            }
            Self::FixedPoint { multiplier, shift, offset } => {
                saturate(divide(high(sum, multiplier), shift) + i128::from(offset))
            }
            Self::DoubleRounding { multiplier, exponent, zero_point } => {
                let (left, right) = (exponent.max(0) as u32, (-exponent).max(0) as u32);
                let shifted = i128::from(modulo(sum << left));
                saturate(divide(high(shifted, multiplier), right) + i128::from(zero_point))
            }
            Self::SingleRounding { multiplier, exponent, zero_point } => {
                let product = sum * i128::from(multiplier) + (1 << (30 - exponent));
                saturate((product >> (31 - exponent)) + i128::from(zero_point))
            }
        }
    }
}

/// The signed number of 32 bits that equals `x` modulo `2^32`.
pub fn modulo(x: i128) -> i32 {
    x as i32
}

fn saturate(x: i128) -> i32 {
    x.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// `a * b / 2^31`, ties toward plus infinity.
fn high(a: i128, b: i32) -> i128 {
    saturate((a * i128::from(b) + (1 << 30)) >> 31).into()
}

/// `x / 2^e` rounded to nearest, ties away from zero.
fn divide(x: i128, e: u32) -> i128 {
    let half = (1 << e) / 2;
    x.signum() * ((x.abs() + half) >> e)
}
