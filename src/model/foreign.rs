//! Recognition of other file formats, for helpful error messages.

/// Offset, signature and description of each format.
const SIGNATURES: [(usize, &[u8], &str); 14] = [
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x93NUMPY", "a NumPy array (.npy)"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (0, b"version https://git-lfs", "a Git LFS pointer: the file itself was not fetched (git lfs pull)"),
    (0, b"\x1f\x8b", "gzip data, to be unpacked first"),
    (257, b"ustar", "a tar archive, to be unpacked first"),
    // Pickle protocols; the first is what torch.save wrote before 1.6.
    (0, b"\x80\x02", PICKLE),
    (0, b"\x80\x03", PICKLE),
    (0, b"\x80\x04", PICKLE),
    (0, b"\x80\x05", PICKLE),
    (0, b"<!DOCTYPE", "a web page, not what it links to"),
    (0, b"<html", "a web page, not what it links to"),
    (0, b"{", "JSON text without the length that safetensors begin with"),
];

const PICKLE: &str = "a Python pickle, as torch.save wrote it before PyTorch 1.6 (.pt, .pth); convert it with `skinny \
                      convert`, or write its state dict with safetensors.torch.save_file";
const ZIP_OF_TORCH: &str = "a PyTorch file, as torch.save writes it (.pt, .pth); convert it with `skinny convert`, or \
                            write its state dict with safetensors.torch.save_file";

/// Describes a file that is not safetensors, if its format is known.
pub(super) fn recognize(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"PK\x03\x04") {
        return Some(zip(bytes));
    }
    let signature = SIGNATURES.iter().find(|(at, signature, _)| {
        let here = bytes.get(*at..).unwrap_or_default();
        here.starts_with(signature)
    });
    signature.map(|&(_, _, format)| format).or_else(|| is_onnx(bytes).then_some("an ONNX file"))
}

/// Describes a zip archive by the first names in it.
fn zip(bytes: &[u8]) -> &'static str {
    let beginning = &bytes[..bytes.len().min(4096)];
    let has = |name: &[u8]| beginning.windows(name.len()).any(|window| window == name);
    if has(b"/data.pkl") || has(b"/constants.pkl") {
        ZIP_OF_TORCH
    } else if has(b".npy") {
        "NumPy arrays (.npz), which `skinny convert` reads"
    } else {
        "a zip archive"
    }
}

/// Whether this is a protobuf that begins with the fields of ONNX's `ModelProto`: `ir_version`, a small number, and
/// then text, a graph or operator sets.
fn is_onnx(bytes: &[u8]) -> bool {
    // Fields 2, 3, 4, 6, 7 and 8, each with a length.
    matches!(*bytes, [0x08, 1..=99, 0x12 | 0x1a | 0x22 | 0x32 | 0x3a | 0x42, ..])
        // Field 5, the model's version, is a number.
        || matches!(*bytes, [0x08, 1..=99, 0x28, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        let tar = [&[b'a'; 257][..], b"ustar\x0000"].concat();
        for (bytes, format) in [
            (&b"PK\x03\x04\0\0\0\0\0\0archive/data.pkl"[..], "a PyTorch file"),
            (b"PK\x03\x04\0\0\0\0\0\0weight.npy", "NumPy arrays (.npz)"),
            (b"PK\x03\x04\0\0\0\0\0\0readme.txt", "a zip archive"),
            // The beginning of torch.save with _use_new_zipfile_serialization=False.
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "a Python pickle"),
            (b"\x80\x04\x95", "a Python pickle"),
            // ir_version 7, producer_name "pytorch".
            (b"\x08\x07\x12\x07pytorch", "an ONNX file"),
            (b"\x08\x0a\x3a\x80\x01", "an ONNX file"),
            (b"GGUF\x03\0\0\0", "a GGUF file"),
            (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file"),
            (b"\x1c\0\0\0TFL3", "a TensorFlow Lite file"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
            (&tar, "a tar archive"),
        ] {
            let recognized = recognize(bytes).unwrap();
            assert!(recognized.starts_with(format), "{recognized} for {format}");
        }
        for other in [&b""[..], b"P", b"\x08", b"\x08\x07\x12"] {
            assert_eq!(recognize(other).is_some(), other.len() == 3, "{other:?}");
        }
    }
}
