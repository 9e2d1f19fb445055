//! How the layers are stored that came with version 2; the others are in [`layers`](super::layers).

use alloc::format;

use serde::{Deserialize, Serialize};

use super::layers::{read_vector, write_vector};
use super::{Format, GateHeader, MatHeader, Reader, Stored, Tensor, Writer, vec_of};
use crate::error::{FileError, Result};
use crate::factored::{
    Affine, DepthwiseConvolution, Embedding, Function, LayerNorm, Mapping, OverTime, Reduction, Rnn, RnnFunction,
    Slice, Table, Unpacked, Windows,
};
use crate::model::file::header_error;

#[derive(Serialize, Deserialize)]
#[serde(remote = "Windows", deny_unknown_fields)]
struct WindowsHeader {
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct DepthwiseHeader {
    features: usize,
    bias: bool,
    #[serde(with = "WindowsHeader")]
    windows: Windows,
}

impl Stored for DepthwiseConvolution {
    type Header = DepthwiseHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<DepthwiseHeader> {
        let (features, windows) = (self.features(), self.windows());
        let weight = Tensor::floats(vec_of([windows.kernel, features]), self.weight().as_slice());
        to.put(format!("{name}.weight"), weight)?;
        Ok(DepthwiseHeader { features, bias: write_vector(self.bias(), format!("{name}.bias"), to)?, windows })
    }

    fn read(
        name: &str,
        &DepthwiseHeader { features, bias, windows }: &Self::Header,
        from: &mut Reader<'_>,
    ) -> Result<Self> {
        let weight = from.tensors.take_floats_of(&format!("{name}.weight"), windows.kernel, features)?;
        let bias = read_vector(bias, &format!("{name}.bias"), features, from)?;
        Self::new(weight, bias, windows).map_err(|cause| FileError::layer(name, cause))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RnnFunction", rename_all = "snake_case")]
enum RnnFunctionHeader {
    Tanh,
    Relu,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct RnnHeader {
    weights: GateHeader,
    bias_ih: bool,
    bias_hh: bool,
    #[serde(with = "RnnFunctionHeader")]
    function: RnnFunction,
}

impl Stored for Rnn {
    type Header = RnnHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<RnnHeader> {
        Ok(RnnHeader {
            weights: GateHeader::write(name, [self.weight_ih(), self.weight_hh()], to)?,
            bias_ih: write_vector(self.bias_ih(), format!("{name}.bias_ih"), to)?,
            bias_hh: write_vector(self.bias_hh(), format!("{name}.bias_hh"), to)?,
            function: self.function(),
        })
    }

    fn read(name: &str, header: &RnnHeader, from: &mut Reader<'_>) -> Result<Self> {
        let [weight_ih, weight_hh] = header.weights.read(name, from)?;
        let bias_ih = read_vector(header.bias_ih, &format!("{name}.bias_ih"), weight_ih.n(), from)?;
        let bias_hh = read_vector(header.bias_hh, &format!("{name}.bias_hh"), weight_ih.n(), from)?;
        let rnn = Rnn::new(weight_ih, weight_hh, bias_ih, bias_hh).map_err(|cause| FileError::layer(name, cause))?;
        Ok(rnn.with_function(header.function))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Function", rename_all = "snake_case", deny_unknown_fields)]
enum FunctionHeader {
    Tanh,
    Sigmoid,
    Relu,
    ClippedRelu(f32),
    LeakyRelu(f32),
    Silu,
    Gelu,
    GeluTanh,
    HardSigmoid { slope: f32, offset: f32 },
    HardSwish,
    Absolute,
    Square,
    SquareRoot,
    Softmax,
    LogSoftmax,
    Normalize { epsilon: f32 },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct MappingHeader {
    #[serde(with = "FunctionHeader")]
    function: Function,
    features: usize,
}

impl Stored for Mapping {
    type Header = MappingHeader;

    fn write(&self, _: &str, _: &mut Writer) -> Result<MappingHeader> {
        Ok(MappingHeader { function: self.function(), features: self.features() })
    }

    fn read(name: &str, header: &MappingHeader, _: &mut Reader<'_>) -> Result<Self> {
        Self::new(header.function, header.features).map_err(|cause| FileError::layer(name, cause))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct AffineHeader {
    features: usize,
}

impl Stored for Affine {
    type Header = AffineHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<AffineHeader> {
        write_vector(Some(self.scale()), format!("{name}.scale"), to)?;
        write_vector(Some(self.shift()), format!("{name}.shift"), to)?;
        Ok(AffineHeader { features: self.features() })
    }

    fn read(name: &str, header: &AffineHeader, from: &mut Reader<'_>) -> Result<Self> {
        let [scale, shift] = ["scale", "shift"].map(|part| format!("{name}.{part}"));
        let scale = from.tensors.take_vector(&scale, header.features)?;
        let shift = from.tensors.take_vector(&shift, header.features)?;
        Self::new(scale, shift).map_err(|cause| FileError::layer(name, cause))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct LayerNormHeader {
    features: usize,
    weight: bool,
    bias: bool,
    epsilon: f32,
}

impl Stored for LayerNorm {
    type Header = LayerNormHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<LayerNormHeader> {
        Ok(LayerNormHeader {
            features: self.features(),
            weight: write_vector(self.weight(), format!("{name}.weight"), to)?,
            bias: write_vector(self.bias(), format!("{name}.bias"), to)?,
            epsilon: self.epsilon(),
        })
    }

    fn read(name: &str, header: &LayerNormHeader, from: &mut Reader<'_>) -> Result<Self> {
        let weight = read_vector(header.weight, &format!("{name}.weight"), header.features, from)?;
        let bias = read_vector(header.bias, &format!("{name}.bias"), header.features, from)?;
        let layer = Self::new(header.features, weight, bias, header.epsilon);
        layer.map_err(|cause| FileError::layer(name, cause))
    }
}

impl Stored for Embedding {
    type Header = MatHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<MatHeader> {
        let table = match self.table() {
            Table::F32(table) => Unpacked::F32(table.clone()),
            Table::I8(table) => Unpacked::I8(table.clone()),
        };
        table.write(&format!("{name}.weight"), to)
    }

    fn read(name: &str, header: &MatHeader, from: &mut Reader<'_>) -> Result<Self> {
        let refused = || header_error(format!("{name:?}: an embedding is f32 or int8"));
        if !matches!(header.format, Format::F32 | Format::I8) {
            return Err(refused());
        }
        let table = match Unpacked::read(&format!("{name}.weight"), header, from)? {
            Unpacked::F32(table) => Table::F32(table),
            Unpacked::I8(table) => Table::I8(table),
            _ => return Err(refused()),
        };
        Self::from_table(table).map_err(|cause| FileError::layer(name, cause))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct SliceHeader {
    features: usize,
    start: usize,
    end: usize,
}

impl Stored for Slice {
    type Header = SliceHeader;

    fn write(&self, _: &str, _: &mut Writer) -> Result<SliceHeader> {
        Ok(SliceHeader { features: self.input_size(), start: self.range().start, end: self.range().end })
    }

    fn read(name: &str, header: &SliceHeader, _: &mut Reader<'_>) -> Result<Self> {
        Self::new(header.start..header.end, header.features).map_err(|cause| FileError::layer(name, cause))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Reduction", rename_all = "snake_case")]
enum ReductionHeader {
    Last,
    Mean,
    Sum,
    Max,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct OverTimeHeader {
    #[serde(with = "ReductionHeader")]
    reduction: Reduction,
    features: usize,
}

impl Stored for OverTime {
    type Header = OverTimeHeader;

    fn write(&self, _: &str, _: &mut Writer) -> Result<OverTimeHeader> {
        Ok(OverTimeHeader { reduction: self.reduction(), features: self.features() })
    }

    fn read(_: &str, header: &OverTimeHeader, _: &mut Reader<'_>) -> Result<Self> {
        Ok(Self::new(header.reduction, header.features))
    }
}
