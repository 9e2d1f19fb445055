use super::*;
use crate::kernels::*;
use crate::matrix::*;
#[derive(Clone, Debug)]
pub struct TimeConvolution(Linear);
#[derive(Clone, Debug)]
pub struct TimeConvolutionState;
impl TimeConvolutionState {
    pub fn reset(&mut self) {}
}
impl TimeConvolution {
    pub fn new(l: Linear, _: usize, _: usize, _: usize) -> Result<Self> {
        Ok(Self(l))
    }
    pub fn input_size(&self) -> usize {
        todo!()
    }
    pub fn output_size(&self) -> usize {
        todo!()
    }
    pub fn kernel(&self) -> usize {
        todo!()
    }
    pub fn stride(&self) -> usize {
        todo!()
    }
    pub fn padding(&self) -> usize {
        todo!()
    }
    pub fn linear(&self) -> &Linear {
        todo!()
    }
    pub fn bytes(&self) -> usize {
        todo!()
    }
    pub fn parameters(&self) -> usize {
        todo!()
    }
    pub fn quantize_to(&self, _: WeightFormat, _: Tier) -> Result<Self> {
        todo!()
    }
    pub fn state(&self) -> Result<TimeConvolutionState> {
        todo!()
    }
    pub fn ready(&self, _: &TimeConvolutionState, _: usize) -> usize {
        todo!()
    }
    pub fn ready_at_end(&self, _: &TimeConvolutionState) -> usize {
        todo!()
    }
    pub fn forward(
        &self,
        _: MatRef<'_, f32>,
        _: &mut TimeConvolutionState,
        _: MatMut<'_, f32>,
        _: &mut Scratch,
    ) -> Result<usize> {
        todo!()
    }
    pub fn finish(&self, _: &mut TimeConvolutionState, _: MatMut<'_, f32>, _: &mut Scratch) -> Result<usize> {
        todo!()
    }
}
