//! The crate's own model files: safetensors with the numbers exactly as they are multiplied, and a header that
//! describes them.
//!
//! One entry of the metadata, `skinny`, holds a JSON object: `version`, `layers` (in order, each with its name and the
//! storage of its weights), `attachments` and `metadata`; for a graph also `inputs`, `outputs` and what each layer reads.
//! Tensors are named after their layer and parameter:
//!
//! | storage of a matrix `NAME`, `n x k` | tensors |
//! |---|---|
//! | f32 | `NAME`: F32, `n x k` |
//! | int8 | `NAME.values`: I8, `n x k`; `NAME.scales`: F32, `n` |
//! | int4 | `NAME.nibbles`: U8, `n x ceil(k / 2)`, the even column in the low half; `NAME.scales` |
//! | int4 in groups of 32 | the same and `NAME.multipliers`: U8, `n x ceil(k / 32)` |
//! | int2 in groups of 64 | `NAME.quarters`: U8, `n x ceil(k / 4)`; `NAME.multipliers`: I8, `n x ceil(k / 64)`; `NAME.scales` |
//!
//! A weight is one matrix, `WEIGHT`, or two factors, `WEIGHT.u` and `WEIGHT.v`, or a stack of these, `WEIGHT.0`,
//! `WEIGHT.1`, ... The tensors must be exactly those that the header describes.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use super::graph_file::{GraphHeader, InputHeader, NodeHeader, OutputHeader, present};
use super::stored::{Reader, Tensor, Writer};
use super::tensors::Tensors;
use super::version::Version;
use super::{Attachment, Model};
use crate::error::{Error, FileError, Result};
use crate::kernels::Tier;

/// The metadata key of the header.
pub(super) const KEY: &str = "skinny";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: String,
    /// One called `input`, if left out.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<InputHeader>>,
    layers: Vec<NodeHeader>,
    /// The last value as `output`, if left out.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    outputs: Option<Vec<OutputHeader>>,
    #[serde(default)]
    attachments: Vec<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

pub(super) fn header_error(reason: impl Display) -> Error {
    FileError::Header { key: KEY.into(), reason: reason.to_string() }.into()
}

impl Model {
    /// Reads a model that [`to_bytes`](Self::to_bytes) wrote and packs it for the kernels of `tier`. Nothing is
    /// quantized again, so outputs are bit-identical on every tier.
    ///
    /// # Errors
    /// [`Error::File`] names the tensor, layer or entry at fault and says why: the file is not a safetensors file or
    /// has another version; a tensor is missing, unexpected, or of the wrong type or shape; numbers are not finite or
    /// out of range; layers do not fit each other. [`Error::TierUnavailable`], [`Error::Allocation`]. The file may be
    /// hostile: memory use is proportional to its size.
    pub fn from_bytes(bytes: &[u8], tier: Tier) -> Result<Self> {
        /// The field that all versions have.
        #[derive(Deserialize)]
        struct Versioned {
            version: String,
        }
        let mut tensors = Tensors::new(bytes)?;
        let json = tensors.metadata().get(KEY).ok_or_else(|| header_error("missing: not a model of this crate"))?;
        let Versioned { version } = serde_json::from_str(json).map_err(header_error)?;
        let version = Version::named(&version)?;
        let header: Header = serde_json::from_str(json).map_err(header_error)?;
        let mut attachments = BTreeMap::new();
        for name in header.attachments {
            let (shape, values) = tensors.take_floats(&name)?;
            attachments.insert(name, Attachment::new(shape, values)?);
        }
        let mut reader = Reader { tensors, tier, version };
        let Header { inputs, layers, outputs, .. } = header;
        let graph = GraphHeader { inputs, layers, outputs }.read(&mut reader)?;
        reader.tensors.expect_empty()?;
        Ok(graph.build()?.with_attached(header.metadata, attachments))
    }

    /// Writes the model to bytes, in the earliest version that has all that it needs. The same model always gives the
    /// same bytes.
    ///
    /// # Errors
    /// [`Error::Allocation`]; [`Error::File`] if two tensors would have one name.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::default();
        let GraphHeader { inputs, layers, outputs } = GraphHeader::write(self, &mut writer)?;
        for (name, attachment) in self.attachments() {
            writer.put(name.clone(), Tensor::floats(attachment.shape().to_vec(), attachment.values()))?;
        }
        let header = Header {
            version: writer.version.name().into(),
            inputs,
            layers,
            outputs,
            attachments: self.attachments().keys().cloned().collect(),
            metadata: self.metadata().clone(),
        };
        let header = serde_json::to_string(&header).map_err(header_error)?;
        let views = writer.tensors.iter().map(|(name, tensor)| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
            Ok((name.as_str(), view.map_err(|cause| header_error(format!("{name}: {cause}")))?))
        });
        let views = views.collect::<Result<Vec<(&str, TensorView<'_>)>>>()?;
        let metadata = [(KEY.to_string(), header)].into_iter().collect();
        safetensors::serialize(views, Some(metadata)).map_err(header_error)
    }

    /// Reads a model file with [`from_bytes`](Self::from_bytes).
    ///
    /// # Errors
    /// Those of [`from_bytes`](Self::from_bytes); [`FileError::Io`] if the file cannot be read.
    #[cfg(feature = "std")]
    pub fn load(path: impl AsRef<std::path::Path>, tier: Tier) -> Result<Self> {
        Self::from_bytes(&read(path.as_ref())?, tier)
    }

    /// Writes [`to_bytes`](Self::to_bytes) to a file, atomically: a new file is written beside it and then replaces it.
    ///
    /// # Errors
    /// Those of [`to_bytes`](Self::to_bytes); [`FileError::Io`] if the file cannot be written.
    #[cfg(feature = "std")]
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        write(path.as_ref(), &self.to_bytes()?)
    }
}

/// Reads a whole file.
#[cfg(feature = "std")]
pub(crate) fn read(path: &std::path::Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| io_error(path, &cause))
}

/// Replaces the file at `path` by one with these bytes, atomically.
#[cfg(feature = "std")]
pub(crate) fn write(path: &std::path::Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};

    // A name that no other writer of the same file uses.
    static WRITES: AtomicUsize = AtomicUsize::new(0);
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}-{}.part", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    let written = std::fs::File::create(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            // Sync before the rename, otherwise a loss of power could leave an empty file.
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|cause| {
        let _ = std::fs::remove_file(&beside);
        io_error(path, &cause)
    })
}

#[cfg(feature = "std")]
fn io_error(path: &std::path::Path, cause: &std::io::Error) -> Error {
    FileError::Io { path: path.display().to_string(), reason: cause.to_string() }.into()
}
