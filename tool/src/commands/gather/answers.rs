//! Hashes the outputs of kernels and layers, which must be the same on every machine.

use skinny::kernels::{
    Activation, Activations, Dequantize, RequantizeFloat, Scales, Sums, WeightFormat, Workspace, gemm,
};
use skinny::model::Session;
use skinny::{Mat, MatMut, Tier};

use super::products::scale;
use crate::commands::bench::shape;
use crate::error::{Failure, Result};
use crate::operands::Weights;
use crate::precision::Precision;
use crate::random::Random;
use crate::results::{Answer, Answers};

/// The hash of the portable tier's answers. A test computes it anew.
const EXPECTED: u64 = 0xad61_93a6_2238_7ee9;

/// Shapes with rows and depths that no panel divides.
const SHAPES: [(usize, usize); 5] = [(1, 1), (5, 31), (16, 64), (67, 130), (200, 321)];

/// The hash of each tier's answers beside the expected one.
pub fn of_all_tiers() -> Result<Answers> {
    let answer = |&tier: &Tier| Ok(Answer { tier: tier.name().into(), hash: text(hash(tier)?) });
    let found = Tier::available().iter().map(answer).collect::<Result<_>>()?;
    Ok(Answers { expected: text(EXPECTED), found })
}

fn text(hash: u64) -> String {
    format!("{hash:016x}")
}

/// The hash of the sums, bytes and floats of products in every format at batches of 1 to 10, and of layers.
fn hash(tier: Tier) -> Result<u64> {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    for format in WeightFormat::ALL {
        for (n, k) in SHAPES {
            let weights = Weights::random(n, k, format)?.pack(tier)?;
            let scales = Scales::new(vec![scale(k); n])?;
            for batch in 1..=10 {
                let mut x = Random::new(batch as u64).bytes(batch * k);
                x.iter_mut().step_by(7).for_each(|x| *x = -128);
                let x = Mat::from_vec(x, batch, k)?;
                let (x, mut workspace) = (Activations::new(x.view()), Workspace::new());
                let (mut sums, mut bytes, mut floats) = (vec![0; batch * n], vec![0; batch * n], vec![0.0; batch * n]);
                gemm(&weights, x, &Sums, MatMut::new(&mut sums, batch, n)?, &mut workspace)?;
                let epilogue = RequantizeFloat::new(&scales, 3i8);
                gemm(&weights, x, &epilogue, MatMut::new(&mut bytes, batch, n)?, &mut workspace)?;
                let epilogue = Dequantize {
                    row_scales: scales.as_slice(),
                    column_scales: &vec![0.125; batch],
                    bias: None,
                    activation: Activation::Relu,
                };
                gemm(&weights, x, &epilogue, MatMut::new(&mut floats, batch, n)?, &mut workspace)?;
                sums.iter().for_each(|sum| hash.add(&sum.to_le_bytes()));
                bytes.iter().for_each(|byte| hash.add(&byte.to_le_bytes()));
                floats.iter().for_each(|float| hash.add(&float.to_bits().to_le_bytes()));
            }
        }
    }
    for layer in ["gru:19", "lstm:19", "gru:19:rank=5"] {
        let shape = layer.parse().map_err(Failure::input)?;
        let model = Precision::Int8.of(&shape::model(&[shape], Some(23))?, tier)?;
        let frames = Mat::from_vec(Random::new(4).floats(8 * 23), 8, 23)?;
        let mut session = Session::new(model.into())?;
        let outputs = session.push(frames.view())?;
        outputs.as_slice().iter().for_each(|output| hash.add(&output.to_bits().to_le_bytes()));
    }
    Ok(hash.0)
}

/// The hash function FNV-1a.
struct Fnv(u64);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_has_the_answers_that_were_written_down() {
        for &tier in Tier::available() {
            assert_eq!(text(hash(tier).unwrap()), text(EXPECTED), "{tier}");
        }
    }
}
