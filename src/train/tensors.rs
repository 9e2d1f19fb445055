//! Conversion between matrices and tensors.

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::Result;
use crate::matrix::{Mat, MatRef};

/// Named trainable tensors.
pub(super) type Parameters<'a> = Vec<(String, &'a mut Tensor<2>)>;

/// A tensor that requires a gradient.
pub(super) fn parameter(w: MatRef<'_, f32>, device: &Device) -> Tensor<2> {
    leaf(tensor(w, device))
}

/// The same values as a leaf of a new graph.
pub(super) fn leaf(tensor: Tensor<2>) -> Tensor<2> {
    tensor.without_autodiff().autodiff().require_grad()
}

/// A constant.
pub(super) fn tensor(w: MatRef<'_, f32>, device: &Device) -> Tensor<2> {
    let device = device.clone().without_autodiff();
    Tensor::from_data(TensorData::new(w.as_slice().to_vec(), [w.rows(), w.cols()]), &device)
}

/// The values of a tensor.
pub(super) fn matrix(tensor: &Tensor<2>) -> Result<Mat<f32>> {
    let [rows, cols] = tensor.dims();
    Mat::from_vec(values(tensor.clone()), rows, cols)
}

/// All values of a tensor in row-major order.
pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.without_autodiff().into_data();
    // Weights are f32 by construction; a device of another precision converts.
    data.iter::<f32>().collect()
}

/// The only value of a tensor.
pub(super) fn scalar<const D: usize>(tensor: Tensor<D>) -> f32 {
    tensor.without_autodiff().into_data().iter::<f32>().next().unwrap_or(f32::NAN)
}
