//! Formats are told by the content of a file.

use std::fmt;

use crate::archive::Archive;
use crate::onnx;

/// The format of a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// safetensors: a state dict, or a model of the library.
    Safetensors,
    /// What `torch.save` writes (`.pt`, `.pth`), as a zip archive or as the pickles of releases before 1.6.
    Torch,
    /// NumPy's archive of arrays.
    Npz,
    /// One array of NumPy.
    Npy,
    /// What Keras saves: `.keras`, or `.h5`.
    Keras,
    /// ONNX (`.onnx`).
    Onnx,
}

impl Format {
    /// The format of a file, if it is one of these.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // The length of the header comes first. No other format has a brace behind it.
            [_, _, _, _, _, _, _, _, b'{', ..] => Some(Format::Safetensors),
            [b'P', b'K', 3, 4, ..] => Self::of_archive(bytes),
            // Pickles of protocol 2 and later.
            [0x80, 2..=5, ..] => Some(Format::Torch),
            [0x89, b'H', b'D', b'F', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Keras),
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some(Format::Npy),
            // Of a tar archive; torch.save wrote such ones before release 0.1.10.
            _ if bytes.get(257..262) == Some(b"ustar") && bytes.starts_with(b"sys_info") => Some(Format::Torch),
            _ if onnx::is_onnx(bytes) => Some(Format::Onnx),
            _ => None,
        }
    }

    /// Whether its files describe layers, and not tensors alone.
    pub fn describes_layers(self) -> bool {
        matches!(self, Format::Keras | Format::Onnx)
    }

    /// Its name, in one word.
    pub fn name(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Torch => "pytorch",
            Format::Npz => "npz",
            Format::Npy => "npy",
            Format::Keras => "keras",
            Format::Onnx => "onnx",
        }
    }

    fn of_archive(bytes: &[u8]) -> Option<Self> {
        let archive = Archive::new(bytes)?;
        let has = |fits: fn(&str) -> bool| archive.names().any(fits);
        if has(|name| name == "data.pkl" || name.ends_with("/data.pkl")) {
            Some(Format::Torch)
        } else if has(|name| name.ends_with(".npy")) {
            Some(Format::Npz)
        } else if has(|name| name == "model.weights.h5") {
            Some(Format::Keras)
        } else {
            None
        }
    }
}

/// What the file is, with its article.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "a safetensors file",
            Format::Torch => "a PyTorch file",
            Format::Npz => "a NumPy archive (.npz)",
            Format::Npy => "a NumPy array (.npy)",
            Format::Keras => "a Keras file",
            Format::Onnx => "an ONNX file",
        })
    }
}
