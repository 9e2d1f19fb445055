//! The tensors of a safetensors file. Each is taken once and checked as it is taken.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::foreign;
use crate::error::{Error, FileError, Quoted, Result, TensorProblem};
use crate::matrix::Mat;

/// The tensors of a file that have not been used yet. Any that are left once the model is made are unexpected.
#[derive(Clone)]
pub(crate) struct Tensors<'a> {
    views: BTreeMap<String, TensorView<'a>>,
    metadata: BTreeMap<String, String>,
}

impl<'a> Tensors<'a> {
    /// Reads the header of a safetensors file.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let container = |reason: &dyn core::fmt::Display| FileError::Container { reason: reason.to_string() };
        // The header begins with a brace after its length. No other known format does.
        if bytes.get(8) != Some(&b'{')
            && let Some(format) = foreign::recognize(bytes)
        {
            return Err(container(&format_args!("it is {format}")).into());
        }
        check_offsets(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|cause| container(&cause))?;
        let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let file = SafeTensors::deserialize(bytes).map_err(|cause| container(&cause))?;
        Ok(Self { views: file.tensors().into_iter().collect(), metadata })
    }

    /// The metadata of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The names and dimensions of the tensors not taken yet, in order.
    pub fn remaining(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.views.iter().map(|(name, view)| (name.as_str(), view.shape()))
    }

    /// The tensors not taken yet, in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &TensorView<'a>)> {
        self.views.iter().map(|(name, view)| (name.as_str(), view))
    }

    /// Whether a tensor exists and was not taken yet.
    pub fn contains(&self, name: &str) -> bool {
        self.views.contains_key(name)
    }

    /// The dimensions of a tensor not taken yet.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.views.get(name).map(TensorView::shape)
    }

    /// The names that `patterns` stand for. A pattern without `*` is a name itself; another stands for all names that
    /// it matches.
    pub fn matching(&self, patterns: &[String]) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for pattern in patterns {
            if pattern.contains('*') {
                names.extend(self.views.keys().filter(|name| matches(pattern, name)).cloned());
            } else {
                names.insert(pattern.clone());
            }
        }
        names
    }

    /// Drops a tensor.
    pub fn discard(&mut self, name: &str) -> Result<()> {
        self.views.remove(name).map(drop).ok_or_else(|| FileError::tensor(name, TensorProblem::Missing))
    }

    /// Fails if a tensor was not taken.
    pub fn expect_empty(&self) -> Result<()> {
        match self.views.keys().next() {
            None => Ok(()),
            Some(name) => Err(FileError::tensor(name.as_str(), TensorProblem::Unexpected)),
        }
    }

    fn take(&mut self, name: &str) -> Result<TensorView<'a>> {
        let view = self.views.remove(name).ok_or_else(|| FileError::tensor(name, TensorProblem::Missing))?;
        // Without elements there are no bytes that would limit the other dimensions.
        if view.shape().contains(&0) {
            return Err(empty(name, view.shape()));
        }
        Ok(view)
    }

    /// Takes a tensor that is attached to the model.
    pub fn take_kept(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        if let Some(view) = self.views.get(name)
            && !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16)
        {
            let reason = format!(
                "a tensor of type {:?} cannot be kept, only F32, F16 and BF16; drop it (option `drop`)",
                view.dtype()
            );
            return Err(FileError::not_supported(name, reason));
        }
        self.take_floats(name)
    }

    /// Takes floats of any precision, with their dimensions; all must be finite.
    pub fn take_floats(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let view = self.take(name)?;
        // The bytes may lie at any address.
        let data = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Dtype::F16 => data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Dtype::BF16 => data.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
            dtype => return Err(wrong_dtype(name, "F32, F16 or BF16", dtype)),
        };
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok((view.shape().to_vec(), values)),
            Some(index) => {
                let value = values[index];
                Err(FileError::invalid(name, Error::NotFinite { what: "element", index, value }))
            }
        }
    }

    /// Takes a vector of `len` floats.
    pub fn take_vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        let (shape, values) = self.take_floats(name)?;
        expect_shape(name, &[len], &shape)?;
        Ok(values)
    }

    /// Takes a matrix of floats, of any shape.
    pub fn take_matrix(&mut self, name: &str) -> Result<Mat<f32>> {
        let (shape, values) = self.take_floats(name)?;
        match *shape {
            [rows, cols] => Mat::from_vec(values, rows, cols),
            _ => Err(wrong_shape(name, "two dimensions".into(), &shape)),
        }
    }

    /// Takes a `rows x cols` matrix of floats.
    pub fn take_floats_of(&mut self, name: &str, rows: usize, cols: usize) -> Result<Mat<f32>> {
        let (shape, values) = self.take_floats(name)?;
        expect_shape(name, &[rows, cols], &shape)?;
        Mat::from_vec(values, rows, cols)
    }

    /// Takes a `rows x cols` matrix of signed bytes.
    pub fn take_signed(&mut self, name: &str, rows: usize, cols: usize) -> Result<Mat<i8>> {
        let data = self.take_bytes(name, Dtype::I8, "I8", rows, cols)?;
        Mat::from_vec(data.iter().map(|&byte| byte as i8).collect(), rows, cols)
    }

    /// Takes a `rows x cols` matrix of unsigned bytes.
    pub fn take_unsigned(&mut self, name: &str, rows: usize, cols: usize) -> Result<Mat<u8>> {
        let data = self.take_bytes(name, Dtype::U8, "U8", rows, cols)?;
        Mat::from_vec(data.to_vec(), rows, cols)
    }

    fn take_bytes(
        &mut self,
        name: &str,
        dtype: Dtype,
        expected: &'static str,
        rows: usize,
        cols: usize,
    ) -> Result<&'a [u8]> {
        let view = self.take(name)?;
        if view.dtype() != dtype {
            return Err(wrong_dtype(name, expected, view.dtype()));
        }
        expect_shape(name, &[rows, cols], view.shape())?;
        Ok(view.data())
    }
}

fn wrong_dtype(name: &str, expected: &'static str, found: Dtype) -> Error {
    FileError::tensor(name, TensorProblem::Dtype { expected, found: format!("{found:?}") })
}

/// The error that a tensor does not have the expected dimensions.
pub(super) fn wrong_shape(name: &str, expected: String, found: &[usize]) -> Error {
    FileError::tensor(name, TensorProblem::Shape { expected, found: found.to_vec() })
}

/// The error that a tensor has no elements.
pub(super) fn empty(name: &str, found: &[usize]) -> Error {
    wrong_shape(name, "no dimension of 0".into(), found)
}

fn expect_shape(name: &str, expected: &[usize], found: &[usize]) -> Result<()> {
    if expected == found { Ok(()) } else { Err(wrong_shape(name, format!("{expected:?}"), found)) }
}

/// Whether `name` matches `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((beginning, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(beginning) else { return false };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for text in middle.split('*') {
        match name.find(text) {
            Some(at) => name = &name[at + text.len()..],
            None => return false,
        }
    }
    name.ends_with(end)
}

/// A JSON map without duplicate keys.
struct Unique<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Entries<V>(core::marker::PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> core::result::Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    let message = format!("{} occurs twice", Quoted(&key));
                    if entries.insert(key, value).is_some() {
                        return Err(A::Error::custom(message));
                    }
                }
                Ok(Unique(entries))
            }
        }
        deserializer.deserialize_map(Entries(core::marker::PhantomData))
    }
}

/// The part of a header entry that is checked.
struct Entry {
    end: Option<u64>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Value {
            Offsets((u64, u64)),
            Other(IgnoredAny),
        }
        let Unique(mut fields) = Unique::<Value>::deserialize(deserializer)?;
        let end = match fields.remove("data_offsets") {
            Some(Value::Offsets((_, end))) => Some(end),
            _ => None,
        };
        Ok(Self { end })
    }
}

/// Fails unless all tensors have distinct names and end within the file. The safetensors crate (0.8) does not check
/// either. It adds the end of the last tensor to the length of the header, and a sum that wraps around causes a panic
/// at best. Of several entries with one name it takes the last.
fn check_offsets(bytes: &[u8]) -> Result<()> {
    let container = |reason: String| Error::from(FileError::Container { reason });
    let (length, rest) = bytes.split_first_chunk().ok_or_else(|| container("shorter than 8 bytes".into()))?;
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let header = header.ok_or_else(|| {
        // A file of an unknown format says nothing by its length: only a truncated one does.
        container(match rest.first() {
            Some(b'{') => format!("a header of {length} bytes in a file of {} bytes, which is cut short", bytes.len()),
            _ => "no header where one should be: another format, or damaged".into(),
        })
    })?;
    let Unique(entries): Unique<Entry> =
        serde_json::from_slice(header).map_err(|cause| container(format!("header: {cause}")))?;
    let data = (rest.len() - header.len()) as u64;
    for (name, entry) in &entries {
        if let Some(end) = entry.end
            && end > data
        {
            return Err(container(format!("{} ends at {end}, beyond the {data} bytes of data", Quoted(name))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [("*", ""), ("bn.*", "bn.mean"), ("*.mean", "bn.mean"), ("b*n", "bn"), ("a*b*a", "aba")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("bn.*", "bn"), ("*.mean", "bn.means"), ("a*a", "a"), ("a*b*a", "aca"), ("a*ab*b", "ab")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
