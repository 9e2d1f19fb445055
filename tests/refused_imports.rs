//! State dicts of PyTorch that hold something other than a model of this crate, or are damaged. Each is refused with a
//! message that says why.

#[path = "common/state_dict.rs"]
mod state_dict;

use skinny::model::{ImportOptions, Model};
use skinny::{Error, FileError, TensorProblem};
use state_dict::{
    StateDict, dropping, file, gru_and_fc, import, keeping, kinds, listed, refused, refused_file, refused_plain,
};

#[test]
fn dimensions_of_zero_are_refused() {
    for shape in [[0, 4], [4, 0], [0, 0], [usize::MAX, 0]] {
        let dict = StateDict::new().floats("fc.bias", &[1]).tensor("fc.weight", "F32", &shape, &[]);
        let expected = format!("tensor fc.weight: expected no dimension of 0, found {shape:?}");
        assert_eq!(refused(&dict, &listed("fc")), expected);
    }
    let empty = StateDict::new().tensor("rnn.weight_hh_l0", "F32", &[0, 0], &[]).floats("rnn.weight_ih_l0", &[12, 5]);
    assert_eq!(refused_plain(&empty), "tensor rnn.weight_hh_l0: expected no dimension of 0, found [0, 0]");
    let dict = gru_and_fc().tensor("empty", "F32", &[7, 0], &[]);
    assert_eq!(refused(&dict, &keeping(&["empty"])), "tensor empty: expected no dimension of 0, found [7, 0]");
    import(&dict, &dropping(&["empty"]));
    // It once never returned.
    let hostile = file(
        r#"{"__metadata__":{"skinny.layers":"conv"},"conv.weight":{"dtype":"F32","shape":[4611686018427387904,0,1],"data_offsets":[0,0]}}"#,
        &[],
    );
    assert_eq!(
        refused_file(&hostile, &ImportOptions::default()),
        "tensor conv.weight: expected no dimension of 0, found [4611686018427387904, 0, 1]"
    );
}

#[test]
fn convolutions_with_groups_are_refused_by_name() {
    let dict = StateDict::new().floats("a.weight", &[8, 3, 2]).floats("b.weight", &[8, 2, 3]);
    assert_eq!(
        refused(&dict, &listed("a b")),
        "tensor b.weight: each output takes 2 of the 8 features of a: a Conv1d with groups=4, which is not supported"
    );
    assert_eq!(
        refused(&dict, &listed("a b:groups=4")),
        "list of layers, `b:groups=4`: a Conv1d with groups is not supported"
    );
    let depthwise = StateDict::new().recurrent("rnn", "_l0", 3, 4, 5).floats("conv.weight", &[4, 1, 3]);
    assert!(
        refused(&depthwise, &listed("rnn conv")).ends_with("of rnn: a Conv1d with groups=4, which is not supported")
    );
    // If the one does not divide the other, it is another mistake.
    assert_eq!(
        refused(&StateDict::new().linear("fc", 5, 2).floats("conv.weight", &[4, 2, 3]), &listed("fc conv")),
        "layer conv: input: expected 5 elements, found 2"
    );
}

#[test]
fn parameters_that_pytorch_computes_are_named() {
    let tensor = |name: &str, reason: &str| format!("tensor {name}: {reason}");
    let old = gru_and_fc().floats("n.bias", &[2]).floats("n.weight_g", &[2, 1]).floats("n.weight_v", &[2, 4]);
    assert_eq!(
        refused_plain(&old),
        tensor(
            "n.weight_g",
            "weight_norm computes `weight` from it; before saving, call torch.nn.utils.remove_weight_norm(model.get_submodule(\"n\"), \"weight\")"
        )
    );
    let recurrent = StateDict::new().floats("weight_hh_l0_g", &[12, 1]).floats("weight_hh_l0_v", &[12, 4]);
    assert!(refused_plain(&recurrent).contains("remove_weight_norm(model.get_submodule(\"\"), \"weight_hh_l0\")"));
    let of = |ends: &[&str]| {
        let dict = StateDict::new().floats("n.bias", &[2]);
        ends.iter().fold(dict, |dict, end| dict.floats(&format!("n.{end}"), &[2, 2]))
    };
    assert_eq!(
        refused_plain(&of(&["parametrizations.weight.original0", "parametrizations.weight.original1"])),
        tensor(
            "n.parametrizations.weight.original0",
            "weight_norm computes `weight` from it; before saving, call \
             torch.nn.utils.parametrize.remove_parametrizations(model.get_submodule(\"n\"), \"weight\")"
        )
    );
    let spectral = ["0._u", "0._v", "original"].map(|end| format!("parametrizations.weight.{end}"));
    assert_eq!(
        refused_plain(&of(&spectral.each_ref().map(String::as_str))),
        tensor(
            "n.parametrizations.weight.original",
            "a parametrization (spectral_norm, orthogonal, ...) computes `weight` from it; before saving, call \
             torch.nn.utils.parametrize.remove_parametrizations(model.get_submodule(\"n\"), \"weight\")"
        )
    );
    assert_eq!(
        refused_plain(&of(&["weight_orig", "weight_u", "weight_v"])),
        tensor(
            "n.weight_orig",
            "spectral_norm computes `weight` from it; before saving, call torch.nn.utils.remove_spectral_norm(model.get_submodule(\"n\"), \"weight\")"
        )
    );
    assert_eq!(
        refused_plain(&of(&["weight_mask", "weight_orig"])),
        tensor(
            "n.weight_orig",
            "pruning computes `weight` from it; before saving, call torch.nn.utils.prune.remove(model.get_submodule(\"n\"), \"weight\")"
        )
    );
}

#[test]
fn other_modules_are_named() {
    let cell = |gates: usize| {
        StateDict::new()
            .floats("c.weight_ih", &[gates * 4, 5])
            .floats("c.weight_hh", &[gates * 4, 4])
            .linear("fc", 2, 4)
    };
    let rename = "rename its tensors, such as c.weight_hh to c.weight_hh_l0";
    assert_eq!(
        refused_plain(&cell(3)),
        format!("tensor c.weight_hh: belongs to a GRUCell, which is not supported; to use it as a GRU, {rename}")
    );
    assert_eq!(
        refused_plain(&cell(4)),
        format!("tensor c.weight_hh: belongs to an LSTMCell, which is not supported; to use it as an LSTM, {rename}")
    );
    assert_eq!(
        refused_plain(&cell(1)),
        "tensor c.weight_hh: belongs to an RNNCell, which is not supported; only GRU and LSTM are"
    );
    assert_eq!(
        refused_plain(&StateDict::new().recurrent("rnn", "_l0", 1, 4, 5)),
        "tensor rnn.weight_hh_l0: 4 x 4 is the weight of a plain RNN (nn.RNN): only GRU and LSTM are supported"
    );
    assert_eq!(
        refused_plain(&StateDict::new().recurrent("rnn", "_l0", 2, 4, 5)),
        "tensor rnn.weight_hh_l0: expected 3 x 4 (GRU) or 4 x 4 (LSTM) rows, found [8, 4]"
    );
    let of = |end: &str, shape: &[usize]| refused_plain(&gru_and_fc().floats(&format!("m.{end}"), shape));
    for end in ["running_mean", "running_var", "num_batches_tracked"] {
        let reason = "belongs to a BatchNorm, which is not supported; fold it into the layer before it, then drop it";
        assert_eq!(of(end, &[2]), format!("tensor m.{end}: {reason}"));
    }
    assert!(of("in_proj_weight", &[2, 2]).contains("attention"));
    assert!(of("weight", &[2]).starts_with("tensor m.weight: a weight with one dimension belongs to a normalization"));
    assert!(of("weight", &[2, 2, 2, 2]).contains("Conv2d") && of("weight", &[1, 1, 1, 1, 1]).contains("Conv3d"));
    let expected = "tensor m.weight: expected two dimensions (Linear) or three (Conv1d), found";
    assert_eq!(of("weight", &[]), format!("{expected} []"));
    assert_eq!(of("weight", &[1; 6]), format!("{expected} [1, 1, 1, 1, 1, 1]"));
    assert_eq!(of("weight", &[1; 9]), format!("{expected} 9 dimensions"));
}

#[test]
fn recurrent_modules_must_be_whole() {
    let missing = |dict: &StateDict| match Model::from_pytorch(&dict.bytes(), &ImportOptions::default()) {
        Err(Error::File(FileError::Tensor { tensor, problem: TensorProblem::Missing })) => tensor,
        other => panic!("{other:?}"),
    };
    let first = || StateDict::new().recurrent("rnn", "_l0", 3, 4, 5);
    // Layer 1 without its input weights; layers 0 and 2; a layer with a huge number; no layer 0.
    assert_eq!(missing(&first().floats("rnn.weight_hh_l1", &[12, 4])), "rnn.weight_ih_l1");
    assert_eq!(missing(&first().recurrent("rnn", "_l2", 3, 4, 4)), "rnn.weight_ih_l1");
    assert_eq!(missing(&first().floats("rnn.bias_ih_l18446744073709551615", &[12])), "rnn.weight_ih_l1");
    assert_eq!(missing(&StateDict::new().recurrent("rnn", "_l1", 3, 4, 5)), "rnn.weight_ih_l0");
    // A direction on one side only, and a bias on one side only.
    assert_eq!(missing(&first().floats("rnn.weight_ih_l0_reverse", &[12, 5])), "rnn.weight_hh_l0_reverse");
    assert_eq!(
        missing(&first().recurrent("rnn", "_l0_reverse", 3, 4, 5).recurrent("rnn", "_l1", 3, 4, 8)),
        "rnn.weight_ih_l1_reverse"
    );
    let weights = StateDict::new().floats("rnn.weight_ih_l0", &[12, 5]).floats("rnn.weight_hh_l0", &[12, 4]);
    assert_eq!(missing(&weights.clone().floats("rnn.bias_ih_l0", &[12])), "rnn.bias_hh_l0");
    assert_eq!(missing(&weights.clone().floats("rnn.bias_hh_l0", &[12])), "rnn.bias_ih_l0");
    assert_eq!(
        missing(&first().floats("rnn.weight_ih_l1", &[12, 4]).floats("rnn.weight_hh_l1", &[12, 4])),
        "rnn.bias_ih_l1"
    );
    // A factor without the other.
    let half = StateDict::new().floats("fc.weight.u", &[3, 1]).floats("fc.bias", &[3]);
    assert_eq!(missing(&half), "fc.weight.v");

    // Directions of two kinds.
    let mixed = first().recurrent("rnn", "_l0_reverse", 4, 4, 5);
    assert_eq!(refused_plain(&mixed), "tensor rnn.bias_ih_l0_reverse: expected [12], found [16]");
    let mixed = weights.floats("rnn.weight_ih_l0_reverse", &[16, 5]).floats("rnn.weight_hh_l0_reverse", &[16, 4]);
    assert_eq!(refused_plain(&mixed), "layer rnn.l0: weight_hh: expected 12 x 4, found 16 x 4");
    let both = first().floats("rnn.weight", &[2, 2]);
    assert_eq!(refused_plain(&both), "tensor rnn.weight: its module also has the parameters of a recurrent layer");
}

#[test]
fn types_that_are_not_read_are_named() {
    let dict = |dtype: &str, bytes: usize| {
        StateDict::new().floats("fc.bias", &[2]).tensor("fc.weight", dtype, &[2, 2], &vec![0; 4 * bytes])
    };
    for (dtype, bytes) in [("F64", 8), ("F8_E4M3", 1), ("F8_E5M2", 1), ("I8", 1), ("I64", 8)] {
        let expected = format!("tensor fc.weight: expected F32, F16 or BF16, found {dtype}");
        assert_eq!(refused_plain(&dict(dtype, bytes)), expected);
    }
    assert!(refused_plain(&dict("F7", 1)).starts_with("not a safetensors file: "));
    import(&dict("BF16", 2), &ImportOptions::default());
}

#[test]
fn files_of_other_formats_are_named() {
    let plain = ImportOptions::default();
    let pytorch = "convert it with `skinny convert`, or write its state dict with safetensors.torch.save_file";
    for (bytes, format) in [
        (
            &b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\x12\0archive/data.pklFB"[..],
            format!("a PyTorch file, as torch.save writes it (.pt, .pth); {pytorch}"),
        ),
        (
            b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
            format!("a Python pickle, as torch.save wrote it before PyTorch 1.6 (.pt, .pth); {pytorch}"),
        ),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.2.2:\x80\x01", "an ONNX file".into()),
        (b"GGUF\x03\0\0\0\0\0\0\0", "a GGUF file".into()),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0", "an HDF5 file, as Keras writes it".into()),
        (b"PK\x03\x04\0\0\0\0\0\0weight.npy", "NumPy arrays (.npz), which `skinny convert` reads".into()),
    ] {
        let expected = format!("not a safetensors file: it is {format}");
        assert_eq!(refused_file(bytes, &plain), expected);
        let own = Model::from_bytes(bytes, skinny::Tier::Portable).unwrap_err();
        assert_eq!(own.to_string(), expected);
    }
    assert_eq!(refused_file(b"", &plain), "not a safetensors file: shorter than 8 bytes");
    assert_eq!(
        refused_file(b"\x10\0\0\0\0\0\0\0{", &plain),
        "not a safetensors file: a header of 16 bytes in a file of 9 bytes, which is cut short"
    );
    assert_eq!(
        refused_file(b"an unknown format", &plain),
        "not a safetensors file: no header where one should be: another format, or damaged"
    );
    let own = import(&gru_and_fc(), &plain).model.to_bytes().unwrap();
    assert_eq!(
        refused_file(&own, &plain),
        "model file, metadata skinny: a model file of this crate, not a state dict of PyTorch"
    );
}

#[test]
fn headers_that_say_two_things_are_refused() {
    let plain = ImportOptions::default();
    let entry = |name: &str, rest: &str| format!(r#""{name}":{{"dtype":"F32",{rest}}}"#);
    let weight = entry("fc.weight", r#""shape":[1,1],"data_offsets":[0,4]"#);
    let twice = file(&format!("{{{weight},{weight}}}"), &[0; 4]);
    let message = refused_file(&twice, &plain);
    assert!(message.starts_with("not a safetensors file: header: fc.weight occurs twice"), "{message}");
    let shapes = entry("fc.weight", r#""shape":[1,1],"shape":[1,1,1],"data_offsets":[0,4]"#);
    let message = refused_file(&file(&format!("{{{shapes}}}"), &[0; 4]), &plain);
    assert!(message.starts_with("not a safetensors file: header: shape occurs twice"), "{message}");
    let metadata = r#""__metadata__":{"skinny.layers":"a","skinny.layers":"fc"}"#;
    let message = refused_file(&file(&format!("{{{metadata},{weight}}}"), &[0; 4]), &plain);
    assert!(message.contains("skinny.layers occurs twice"), "{message}");
    // Metadata that is not text.
    for metadata in [r#"{"skinny.layers":7}"#, r#"{"a":{}}"#, "7", "[]"] {
        let file = file(&format!(r#"{{"__metadata__":{metadata},{weight}}}"#), &[0; 4]);
        assert!(refused_file(&file, &plain).starts_with("not a safetensors file: "));
    }
    // A file of a header only, and a header with nothing in it.
    assert!(
        refused_file(&file(&format!("{{{weight}}}"), &[]), &plain).contains("fc.weight ends at 4, beyond the 0 bytes")
    );
    assert!(refused_file(&file("{}", &[]), &plain).contains("no tensor has the name"));
}

/// The ends of the tensors and the length of the header together wrap around.
#[test]
fn offsets_that_overflow_are_refused() {
    let size = (1u64 << 61) - 1;
    let entries: Vec<String> = (0..8)
        .map(|i| format!(r#""{i}":{{"dtype":"I8","shape":[{size}],"data_offsets":[{},{}]}}"#, i * size, (i + 1) * size))
        .collect();
    let hostile = file(&format!("{{{}}}", entries.join(",")), &[]);
    let expected = format!("not a safetensors file: 0 ends at {size}, beyond the 0 bytes of data");
    assert_eq!(refused_file(&hostile, &ImportOptions::default()), expected);
    assert_eq!(Model::from_bytes(&hostile, skinny::Tier::Portable).unwrap_err().to_string(), expected);
}

#[test]
fn names_of_any_kind_are_taken_and_shown_short() {
    // Names of Unicode, of dots, and an empty one.
    let dict = StateDict::new().linear("\u{1f980}.\u{fc}", 3, 2).linear("a..b.", 4, 3);
    assert_eq!(kinds(&import(&dict, &ImportOptions::default()).model), ["\u{1f980}.\u{fc}: linear", "a..b.: linear"]);
    let dict = StateDict::new().floats("weight", &[3, 2]).floats("bias", &[3]);
    assert_eq!(kinds(&import(&dict, &listed(":relu")).model), ["linear: linear"]);
    for name in [".weight", ".", "", "weight.", ".fc.bias"] {
        let dict = gru_and_fc().floats(name, &[2, 2]);
        assert_eq!(refused_plain(&dict), format!("tensor {name}: the model has no use for it"));
    }
    let long = "x".repeat(100_000);
    let shown = format!("tensor {}... (100000 bytes): the model has no use for it", "x".repeat(80));
    assert_eq!(refused_plain(&gru_and_fc().floats(&long, &[1])), shown);
    assert_eq!(
        refused_plain(&gru_and_fc().floats("a\u{1b}[2J\n", &[1])),
        "tensor a\\u{1b}[2J\\n: the model has no use for it"
    );
    let message = refused(&gru_and_fc(), &listed(&format!("{long}:relu")));
    assert!(message.len() < 200 && message.ends_with("it has fc, rnn"), "{message}");
    // Every size is 1.
    let model = import(&StateDict::new().recurrent("rnn", "_l0", 4, 1, 1).linear("fc", 1, 1), &listed("rnn fc")).model;
    assert_eq!((model.input_size(), model.output_size()), (1, 1));
}
