//! Files that PyTorch wrote, against what PyTorch says is in them. `fixtures/torch_files.py` makes them.

mod common;

use common::{expect_refused, fixture, run, tensors};
use skinny::Error as Refused;
use skinny::model::{Import, ImportOptions};
use skinny_convert::{Error, Format, Selection, convert};

fn prefix(prefix: &str) -> Selection {
    Selection { prefix: Some(prefix.into()), ..Selection::default() }
}

/// The tensors of `torch_model.safetensors` that belong to the model.
fn state() -> Vec<common::Named> {
    tensors(&fixture("torch_model.safetensors")).into_iter().filter(|(name, ..)| name != "x" && name != "y").collect()
}

#[test]
fn the_same_state_dict_is_read_from_every_container() {
    for (name, selection) in [
        ("torch_zip.pt", Selection::default()),
        ("torch_old.pt", Selection::default()),
        ("torch_module.pt", Selection::default()),
        ("torch_wrapped.pt", Selection::default()),
        ("torch_wrapped.pt", prefix("state_dict")),
        ("torch_checkpoint.pt", prefix("model")),
    ] {
        let file = fixture(name);
        let converted = convert(&file, &selection).unwrap_or_else(|cause| panic!("{name}: {cause}"));
        assert_eq!(converted.format, Format::Torch);
        assert_eq!(tensors(&converted.bytes), state(), "{name}");
        let assumed = name == "torch_wrapped.pt" && selection.is_all();
        assert_eq!(converted.assumptions.len(), usize::from(assumed), "{name}: {:?}", converted.assumptions);
    }
}

/// TorchScript keeps no note of which buffers are not saved.
#[test]
fn torchscript_is_read_with_all_buffers() {
    let file = fixture("torch_script.pt");
    let converted = convert(&file, &Selection::default()).unwrap();
    let mut found = tensors(&converted.bytes);
    found.retain(|(name, ..)| name != "not_saved");
    assert_eq!(found, state());
}

#[test]
fn outputs_are_pytorchs() {
    let converted = fixture("torch_zip.pt");
    let converted = convert(&converted, &Selection::default()).unwrap();
    let model = Import::from_pytorch(&converted.bytes, &ImportOptions::default()).unwrap().model;
    let reference = skinny::model::TensorFile::new(&fixture("torch_model.safetensors"))
        .map(|file| (file.floats("x").unwrap(), file.floats("y").unwrap()));
    let ((x_shape, x), (_, y)) = reference.unwrap();
    let difference = common::largest_difference(&run(model, &x, x_shape[0]), &y);
    assert!(difference < 1e-6, "{difference}");
}

#[test]
fn every_type_and_layout_is_read_to_the_bit() {
    let file = fixture("torch_types.pt");
    let converted = convert(&file, &Selection::default()).unwrap();
    assert_eq!(tensors(&converted.bytes), tensors(&fixture("torch_types.safetensors")));
}

#[test]
fn a_checkpoint_needs_a_choice() {
    let file = fixture("torch_checkpoint.pt");
    let message = convert(&file, &Selection::default()).unwrap_err().to_string();
    assert_eq!(message, "prefix: the file holds model (10 tensors), optimizer (30 tensors); say which is the model");
}

#[test]
fn calls_of_other_functions_are_refused_by_name() {
    // Python calls the function by the name of its module on this system.
    for name in ["torch_attack_zip.pt", "torch_attack_old.pt"] {
        let file = fixture(name);
        let cause = convert(&file, &Selection::default()).unwrap_err();
        assert_eq!(cause, Error::Call { name: "posix.system".into() }, "{name}");
        assert!(cause.to_string().contains("torch.save(model.state_dict(), FILE)"));
    }
    expect_refused(&fixture("attack.pkl"), "a pickle that torch.save did not write");
    assert!(!std::path::Path::new("hostile").exists());
}

#[test]
fn what_would_take_more_memory_than_the_file_is_refused() {
    expect_refused(&fixture("torch_expanded.pt"), "it repeats elements: dimensions [1000, 1000] of 4 bytes");
}

#[test]
fn big_endian_and_quantized_files_are_refused() {
    let replaced = |name: &str, old: &[u8], new: &[u8]| {
        let mut file = fixture(name);
        let at = file.windows(old.len()).position(|window| window == old).unwrap();
        file[at..at + old.len()].copy_from_slice(new);
        file
    };
    // The value that follows the key: NEWTRUE becomes NEWFALSE.
    let old = fixture("torch_old.pt");
    let key = old.windows(13).position(|window| window == b"little_endian").unwrap();
    let value = key + old[key..].iter().position(|&byte| byte == 0x88).unwrap();
    let mut big = old.clone();
    big[value] = 0x89;
    expect_refused(&big, "big-endian");
    expect_refused(
        &replaced("torch_old.pt", b"FloatStorage", b"QInt8Storage"),
        "a QInt8Storage is of a model that PyTorch quantized",
    );
    expect_refused(&replaced("torch_old.pt", b"FloatStorage", b"ComplStorage"), "a ComplStorage is not supported");
}

#[test]
fn no_damage_panics() {
    for name in ["torch_zip.pt", "torch_old.pt", "torch_module.pt", "torch_types.pt", "torch_script.pt"] {
        let file = fixture(name);
        common::damage(&file, 1000, |damaged| drop(convert(damaged, &Selection::default())));
    }
}

/// The pickle of a zip archive has a checksum, so its damage is tried without the archive.
#[test]
fn no_damaged_pickle_of_a_module_panics() {
    let archive = fixture("torch_module.pt");
    let archive = skinny_convert::archive::Archive::new(&archive).unwrap();
    let files: Vec<(String, Vec<u8>)> =
        archive.files().map(|(name, data)| (name.to_owned(), data.unwrap().into_owned())).collect();
    let at = files.iter().position(|(name, _)| name.ends_with("data.pkl")).unwrap();
    common::damage(&files[at].1, 1000, |damaged| {
        let mut files = files.clone();
        files[at].1 = damaged.to_vec();
        let archive = skinny_convert::archive::encode(&files).unwrap();
        drop(convert(&archive, &Selection::default()));
    });
}

#[test]
fn the_library_says_what_is_wrong_with_other_files() {
    for bytes in [&b""[..], b"skinny", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"PK\x03\x04 no archive"] {
        let converted = convert(bytes, &Selection::default()).unwrap();
        assert_eq!(&converted.bytes[..], bytes);
        let refused = Import::from_pytorch(&converted.bytes, &ImportOptions::default()).unwrap_err();
        assert!(matches!(refused, Refused::File(_)), "{refused}");
    }
}
