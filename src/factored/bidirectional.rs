//! Two recurrent layers, one of which runs backward.

use super::expect_depth;
use super::quantization::Quantization;
use super::recurrent::Recurrent;
use super::scratch::Scratch;
use crate::error::{Error, Result};
use crate::kernels::{Tier, WeightFormat};
use crate::matrix::{MatMut, MatRef, grow};

/// A bidirectional layer, as in PyTorch: one layer runs over a sequence forward, another runs backward, and each output
/// is the concatenation of theirs. It needs whole sequences, so it has no state and no `step`.
///
/// # Example
/// ```
/// use skinny::factored::{Bidirectional, Gru, Scratch, Weight};
/// use skinny::{Mat, MatMut, MatRef};
///
/// let weight = |w: f32| Weight::dense(Mat::from_vec(vec![w; 3], 3, 1)?);
/// let gru = |w| Gru::new(weight(w)?, weight(-w)?, None, None);
/// let layer = Bidirectional::new(gru(0.5)?, gru(0.5)?)?;
///
/// let x = [1.0, 2.0, 1.0]; // three time steps, the same from either end
/// let mut out = [0.0; 6];
/// layer.forward(MatRef::new(&x, 3, 1)?, MatMut::new(&mut out, 3, 2)?, &mut Scratch::new())?;
/// let [first, .., last] = [[out[0], out[1]], [out[2], out[3]], [out[4], out[5]]];
/// assert_eq!(first, [last[1], last[0]]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bidirectional<L> {
    forward: L,
    reverse: L,
}

impl<L: Recurrent> Bidirectional<L> {
    /// Combines two layers: `forward` starts at the first step, `reverse` at the last.
    ///
    /// # Errors
    /// [`Error::Shape`] if the two differ in output features (reported as rows) or input features (as columns).
    pub fn new(forward: L, reverse: L) -> Result<Self> {
        let [expected, found] = [&forward, &reverse].map(|layer| (layer.output_size(), layer.input_size()));
        if expected != found {
            return Err(Error::Shape { what: "reverse layer", expected, found });
        }
        Ok(Self { forward, reverse })
    }

    /// The same layer in 8, 4 or 2 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`Weight::quantize_to`](super::Weight::quantize_to).
    pub fn quantize_to(&self, format: impl Into<Quantization>, tier: Tier) -> Result<Self> {
        let format = format.into();
        Ok(Self { forward: self.forward.quantize_to(format, tier)?, reverse: self.reverse.quantize_to(format, tier)? })
    }

    /// The same layer in 8 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`quantize_to`](Self::quantize_to).
    pub fn quantize(&self, tier: Tier) -> Result<Self> {
        self.quantize_to(WeightFormat::I8, tier)
    }

    /// The forward layer and the reverse layer.
    pub fn layers(&self) -> (&L, &L) {
        (&self.forward, &self.reverse)
    }

    /// Input features.
    pub fn input_size(&self) -> usize {
        self.forward.input_size()
    }

    /// Output features: those of both layers.
    pub fn output_size(&self) -> usize {
        2 * self.forward.output_size()
    }

    /// Weights and biases of both layers.
    pub fn parameters(&self) -> usize {
        self.forward.parameters() + self.reverse.parameters()
    }

    /// Bytes of weights and biases of both layers in memory.
    pub fn bytes(&self) -> usize {
        self.forward.bytes() + self.reverse.bytes()
    }

    /// Runs a whole sequence `x` (`time x input`) and writes the outputs to `out` (`time x output`). The forward
    /// layer's outputs are the first half of each row. Both layers start from zeros.
    ///
    /// The layers' states are allocated at each call. The other memory is in `scratch`, which grows with the sequence.
    ///
    /// # Errors
    /// [`Error::Shape`] for operands that do not fit; the output is untouched then. [`Error::Allocation`].
    pub fn forward(&self, x: MatRef<'_, f32>, mut out: MatMut<'_, f32>, scratch: &mut Scratch) -> Result<()> {
        let (time, input, half) = (x.rows(), self.input_size(), self.forward.output_size());
        expect_depth("input", x, input)?;
        out.expect_shape("output", time, self.output_size())?;
        // No overflow: together these are at most the sizes of `x` and `out`.
        let (input_len, half_len) = (time * input, time * half);
        // Taken out of the scratch while the layers use the rest of it.
        let mut buffer = core::mem::take(&mut scratch.sequence);
        let done = grow(&mut buffer, input_len + half_len).and_then(|()| {
            let (reversed, outputs) = buffer[..input_len + half_len].split_at_mut(input_len);
            let halves = MatMut::from_checked(outputs, time, half);
            self.forward.forward(x, &mut self.forward.state()?, halves, scratch)?;
            for t in 0..time {
                out.row_mut(t)[..half].copy_from_slice(&outputs[t * half..][..half]);
                reversed[t * input..][..input].copy_from_slice(x.row(time - 1 - t));
            }
            let (reversed, halves) =
                (MatRef::from_checked(reversed, time, input), MatMut::from_checked(outputs, time, half));
            self.reverse.forward(reversed, &mut self.reverse.state()?, halves, scratch)?;
            for t in 0..time {
                out.row_mut(t)[half..].copy_from_slice(&outputs[(time - 1 - t) * half..][..half]);
            }
            Ok(())
        });
        scratch.sequence = buffer;
        done
    }
}
