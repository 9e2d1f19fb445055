//! Export of a trained model for inference and to files.

use std::collections::BTreeMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::recognizer::Recognizer;
use super::tensors::values;
use crate::error::{FileError, Result};
use crate::model::{Attachment, Layer, Model};

impl Recognizer {
    /// The model for inference, in `f32`; quantize it for int8. Layers are named as in the PyTorch import, `gru.l0`,
    /// ... and `fc`. The caller provides metadata and attachments.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::Allocation`](crate::Error::Allocation).
    pub fn to_model(
        &self,
        metadata: BTreeMap<String, String>,
        attachments: BTreeMap<String, Attachment>,
    ) -> Result<Model> {
        let mut layers = Vec::new();
        for (l, layer) in self.layers.iter().enumerate() {
            layers.push((format!("gru.l{l}"), Layer::Gru(layer.to_inference()?)));
        }
        layers.push(("fc".into(), Layer::Linear(self.output.to_inference()?)));
        Ok(Model::new(layers)?.with_attached(metadata, attachments))
    }

    /// A safetensors file with the names of a PyTorch state dict (`gru.weight_ih_l0`, `gru.bias_ih_l0`, `fc.weight`).
    /// Factors are `gru.weight_ih_l0.u` and `gru.weight_ih_l0.v`. Separately factored gates are `gru.weight_ih_l0.0`,
    /// ... Jointly factored input and recurrent weights are `gru.weight_l0`. [`Model::from_pytorch`] reads all of
    /// these.
    ///
    /// # Errors
    /// [`FileError::Container`].
    pub fn to_safetensors(
        &self,
        metadata: &BTreeMap<String, String>,
        attachments: &BTreeMap<String, Attachment>,
    ) -> Result<Vec<u8>> {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in self.parameters() {
            let [rows, cols] = tensor.dims();
            let shape = if name.contains("bias") { vec![cols] } else { vec![rows, cols] };
            tensors.insert(name, (shape, values(tensor)));
        }
        for (name, attachment) in attachments {
            tensors.insert(name.clone(), (attachment.shape().to_vec(), attachment.values().to_vec()));
        }
        serialize(&tensors, metadata)
    }
}

/// Writes a safetensors file of `f32` tensors with their dimensions. The same tensors always give the same bytes if
/// there is at most one metadata entry.
pub(super) fn serialize(
    tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let container = |cause: &dyn std::fmt::Display| FileError::Container { reason: cause.to_string() };
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let bytes: Vec<_> = tensors.iter().map(|(name, (shape, values))| (name, shape, bytes(values))).collect();
    let mut views = Vec::new();
    for (name, shape, bytes) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).map_err(|cause| container(&cause))?;
        views.push((name.as_str(), view));
    }
    let metadata = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    Ok(safetensors::serialize(views, metadata).map_err(|cause| container(&cause))?)
}
