//! Constants: arrays of floats or integers.

use half::{bf16, f16};

use super::proto::each;
use super::wire::Damaged;

/// Numbers and their dimensions. Elements along the last dimension are adjacent; without dimensions there is one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub values: Numbers,
}

/// The elements of an array.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Numbers {
    Floats(Vec<f32>),
    /// Integers of any type, and the least number of that type, which zero points may be.
    Integers {
        values: Vec<i64>,
        least: i64,
    },
}

/// `TensorProto.DataType`.
pub(super) const FLOAT: i64 = 1;
const UINT8: i64 = 2;
const INT8: i64 = 3;
const UINT16: i64 = 4;
const INT16: i64 = 5;
pub(super) const INT32: i64 = 6;
pub(super) const INT64: i64 = 7;
const BOOL: i64 = 9;
const FLOAT16: i64 = 10;
const DOUBLE: i64 = 11;
const UINT32: i64 = 12;
const UINT64: i64 = 13;
const BFLOAT16: i64 = 16;

/// The most elements of a constant that is made of smaller ones: files cannot make the converter take more memory.
pub(super) const MOST: usize = 1 << 22;

/// Whether a type is one of floats.
pub(super) fn is_float(dtype: i64) -> bool {
    matches!(dtype, FLOAT | FLOAT16 | DOUBLE | BFLOAT16)
}

/// Whether a type is one of integers, truth values left out.
pub(super) fn is_integer(dtype: i64) -> bool {
    matches!(dtype, UINT8..=INT64 | UINT32 | UINT64)
}

/// The number of elements of a shape, if the product of any of its dimensions is in proportion to memory.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    let others = shape.iter().filter(|&&size| size > 0);
    let product = others.copied().try_fold(1usize, usize::checked_mul)?;
    match shape.contains(&0) {
        false => Some(product),
        true => (product <= MOST).then_some(0),
    }
}

impl Array {
    pub fn floats(shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { shape, values: Numbers::Floats(values) }
    }

    pub fn integers(shape: Vec<usize>, values: Vec<i64>) -> Self {
        Self { shape, values: Numbers::Integers { values, least: i64::MIN } }
    }

    pub fn len(&self) -> usize {
        match &self.values {
            Numbers::Floats(values) => values.len(),
            Numbers::Integers { values, .. } => values.len(),
        }
    }

    /// The elements as floats.
    pub fn to_floats(&self) -> Vec<f32> {
        match &self.values {
            Numbers::Floats(values) => values.clone(),
            Numbers::Integers { values, .. } => values.iter().map(|&value| value as f32).collect(),
        }
    }

    /// The elements, if they are integers.
    pub fn as_integers(&self) -> Option<&[i64]> {
        if let Numbers::Integers { values, .. } = &self.values { Some(values) } else { None }
    }

    /// The only element, as a float.
    pub fn scalar(&self) -> Option<f32> {
        match &self.values {
            Numbers::Floats(values) => {
                if let &[value] = &values[..] {
                    Some(value)
                } else {
                    None
                }
            }
            Numbers::Integers { values, .. } => {
                if let &[value] = &values[..] {
                    Some(value as f32)
                } else {
                    None
                }
            }
        }
    }

    /// Whether all elements are 0.
    pub fn is_zero(&self) -> bool {
        match &self.values {
            Numbers::Floats(values) => values.iter().all(|&value| value == 0.0),
            Numbers::Integers { values, .. } => values.iter().all(|&value| value == 0),
        }
    }

    /// An array of elements of this one, by their indices.
    pub fn picked(&self, shape: Vec<usize>, indices: impl Iterator<Item = usize>) -> Self {
        let values = match &self.values {
            Numbers::Floats(values) => Numbers::Floats(indices.map(|i| values[i]).collect()),
            Numbers::Integers { values, least } => {
                Numbers::Integers { values: indices.map(|i| values[i]).collect(), least: *least }
            }
        };
        Self { shape, values }
    }

    /// Reads a `TensorProto`: its name, and the array or why it cannot be read.
    pub fn parse(message: &[u8]) -> Result<(String, Result<Self, String>), Damaged> {
        let (mut name, mut dims, mut dtype) = (String::new(), Vec::new(), 0);
        let (mut floats, mut integers, mut raw) = (Vec::new(), Vec::new(), None);
        let (mut external, mut location) = (false, String::new());
        each(message, |number, field| {
            match number {
                1 => field.integers(&mut dims)?,
                2 => dtype = field.integer()?,
                4 => field.floats(&mut floats)?,
                5 | 7 | 11 => field.integers(&mut integers)?,
                8 => name = field.text()?,
                9 => raw = Some(field.bytes()?),
                10 => field.doubles(&mut floats)?,
                13 => {
                    let [mut key, mut value] = [const { String::new() }; 2];
                    each(field.bytes()?, |number, field| {
                        match number {
                            1 => key = field.text()?,
                            2 => value = field.text()?,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    if key == "location" {
                        location = value;
                    }
                    external = true;
                }
                14 => external |= field.integer()? != 0,
                _ => {}
            }
            Ok(())
        })?;
        if external {
            let reason = format!(
                "its data lies in another file, {location}; save the model in one file: onnx.save(onnx.load(FILE), OUT)"
            );
            return Ok((name, Err(reason)));
        }
        let array = Self::of(&dims, dtype, raw, floats, integers);
        Ok((name, array))
    }

    fn of(dims: &[i64], dtype: i64, raw: Option<&[u8]>, floats: Vec<f32>, integers: Vec<i64>) -> Result<Self, String> {
        let shape = dims.iter().map(|&dim| usize::try_from(dim)).collect::<Result<Vec<usize>, _>>();
        let shape = shape.map_err(|_| format!("its dimensions are {dims:?}"))?;
        let values = match raw {
            Some(raw) => Numbers::of_bytes(dtype, raw),
            None if matches!(dtype, FLOAT | DOUBLE) => Some(Numbers::Floats(floats)),
            // In these the numbers' bits are kept as integers.
            None if dtype == FLOAT16 => {
                Some(Numbers::Floats(integers.iter().map(|&bits| f16::from_bits(bits as u16).to_f32()).collect()))
            }
            None if dtype == BFLOAT16 => {
                Some(Numbers::Floats(integers.iter().map(|&bits| bf16::from_bits(bits as u16).to_f32()).collect()))
            }
            None => least(dtype).map(|least| Numbers::Integers { values: integers, least }),
        };
        let values = values.ok_or_else(|| format!("elements of type {dtype} are not supported"))?;
        let array = Self { shape, values };
        if elements(&array.shape) != Some(array.len()) {
            return Err(format!("it has {} elements, and its dimensions are {:?}", array.len(), array.shape));
        }
        Ok(array)
    }
}

/// The least number of an integer type.
fn least(dtype: i64) -> Option<i64> {
    Some(match dtype {
        UINT8 | UINT16 | UINT32 | UINT64 | BOOL => 0,
        INT8 => i8::MIN.into(),
        INT16 => i16::MIN.into(),
        INT32 => i32::MIN.into(),
        INT64 => i64::MIN,
        _ => return None,
    })
}

impl Numbers {
    /// The numbers in little-endian bytes. Bytes that make no whole number are left over.
    fn of_bytes(dtype: i64, bytes: &[u8]) -> Option<Self> {
        fn each<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
        }
        if let Some(least) = least(dtype) {
            let values = match dtype {
                UINT8 | BOOL => each(bytes, |[byte]: [u8; 1]| byte.into()),
                INT8 => each(bytes, |[byte]: [u8; 1]| byte.cast_signed().into()),
                UINT16 => each(bytes, |bytes| u16::from_le_bytes(bytes).into()),
                INT16 => each(bytes, |bytes| i16::from_le_bytes(bytes).into()),
                UINT32 => each(bytes, |bytes| u32::from_le_bytes(bytes).into()),
                INT32 => each(bytes, |bytes| i32::from_le_bytes(bytes).into()),
                _ => each(bytes, i64::from_le_bytes),
            };
            return Some(Numbers::Integers { values, least });
        }
        Some(Numbers::Floats(match dtype {
            FLOAT => each(bytes, f32::from_le_bytes),
            DOUBLE => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            FLOAT16 => each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            BFLOAT16 => each(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            _ => return None,
        }))
    }
}
