//! Safetensors files that hold arrays instead of a model.

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use skinny::model::TensorFile;

use super::{Array, Named};

/// The tensors of type F32, F16 or BF16. Other types are an error only if the file has none of these.
pub fn decode(bytes: &[u8]) -> Result<Named, String> {
    let file = TensorFile::new(bytes).map_err(|cause| cause.to_string())?;
    let tensors = file.tensors();
    let is_float = |dtype: &str| ["F32", "F16", "BF16"].contains(&dtype);
    let floats = tensors.iter().filter(|tensor| is_float(&tensor.dtype));
    let read = |name: &str| file.floats(name).map(|(shape, values)| (name.to_owned(), Array { shape, values }));
    let arrays =
        floats.map(|tensor| read(&tensor.name)).collect::<Result<Named, _>>().map_err(|cause| cause.to_string())?;
    match (arrays.is_empty(), tensors.first()) {
        (false, _) => Ok(arrays),
        (true, Some(tensor)) => {
            Err(format!("tensor {} has type {}; expected F32, F16 or BF16", tensor.name, tensor.dtype))
        }
        (true, None) => Err("holds no tensors".into()),
    }
}

/// A file of F32 tensors.
pub fn encode(arrays: &[(String, Array)]) -> Result<Vec<u8>, String> {
    let data: Vec<Vec<u8>> =
        arrays.iter().map(|(_, array)| array.values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = arrays.iter().zip(&data).map(|((name, array), data)| {
        TensorView::new(Dtype::F32, array.shape.clone(), data).map(|view| (name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(|cause| cause.to_string())?;
    safetensors::serialize(views, None).map_err(|cause| cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let arrays = vec![("x".to_string(), Array { shape: vec![1, 2], values: vec![0.5, -1.0] })];
        assert_eq!(decode(&encode(&arrays).unwrap()).unwrap(), arrays);
        assert_eq!(decode(&encode(&[]).unwrap()).unwrap_err(), "holds no tensors");
    }
}
