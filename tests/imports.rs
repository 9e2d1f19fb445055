//! State dicts of PyTorch that hold more, less or something else than a model of this crate: what is understood, what is
//! assumed, and what is refused, with the message that says why.

#[path = "common/state_dict.rs"]
mod state_dict;

use skinny::factored::Weight;
use skinny::model::{Import, ImportOptions, Layer, Model};
use skinny::{Error, FileError, TensorProblem};
use state_dict::{StateDict, file, pattern};

fn listed(layers: &str) -> ImportOptions {
    ImportOptions { layers: Some(layers.into()), ..ImportOptions::default() }
}

fn dropping(drop: &[&str]) -> ImportOptions {
    ImportOptions { drop: drop.iter().map(|name| name.to_string()).collect(), ..ImportOptions::default() }
}

fn keeping(keep: &[&str]) -> ImportOptions {
    ImportOptions { keep: keep.iter().map(|name| name.to_string()).collect(), ..ImportOptions::default() }
}

fn import(dict: &StateDict, options: &ImportOptions) -> Import {
    Import::from_pytorch(&dict.bytes(), options).unwrap_or_else(|error| panic!("{error}"))
}

fn refused_file(file: &[u8], options: &ImportOptions) -> String {
    match Model::from_pytorch(file, options) {
        Err(Error::File(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn refused(dict: &StateDict, options: &ImportOptions) -> String {
    refused_file(&dict.bytes(), options)
}

/// What the message is without options.
fn refused_plain(dict: &StateDict) -> String {
    refused(dict, &ImportOptions::default())
}

fn gru_and_fc() -> StateDict {
    StateDict::new().recurrent("rnn", "_l0", 3, 4, 5).linear("fc", 2, 4)
}

fn kinds(model: &Model) -> Vec<String> {
    model.layers().map(|(name, layer)| format!("{name}: {}", layer.kind())).collect()
}

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

/// 854 bytes of it once took 50 seconds.
#[test]
fn the_order_of_many_layers_takes_no_time() {
    let mut dict = StateDict::new();
    for i in 0..11 {
        dict = dict.floats(&format!("l{i}.weight"), &[1, 1]);
    }
    dict = dict.floats("z.weight", &[3, 2]);
    let expected = "the order of the layers (l0, l1, l10, l2, l3, l4, l5, l6, l7, l8, l9, z) is unknown: in no order do all \
                    outputs fit the next inputs; l0 may be an Embedding (1 x 1, no bias), which is not supported";
    assert_eq!(refused_plain(&dict), expected);

    // Far more than twelve, in an order that is not that of the names.
    let layers = 20_000;
    let mut dict = StateDict::new();
    for i in 0..layers {
        dict = dict.linear(&format!("l{}", i * 7 % layers), 1, 1);
    }
    let message = refused_plain(&dict);
    assert!(message.len() < 700 && message.contains("l0, l1, l10, l100"), "{message}");
    assert!(message.contains("... and 19988 more) is unknown: `l0 l1 l10 "), "{message}");
    let mut dict = StateDict::new();
    for i in 0..60 {
        dict = dict.linear(&format!("l{}", i * 7 % 60), i + 2, i + 1);
    }
    let order: Vec<String> = (0..60).map(|i| format!("l{}", i * 7 % 60)).collect();
    let import = import(&dict, &ImportOptions::default());
    assert_eq!(import.model.layers().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), order);
}

#[test]
fn an_order_that_is_not_the_only_one_is_asked_for() {
    let dict = StateDict::new().linear("a", 4, 4).linear("b", 4, 4).linear("c", 9, 4);
    assert_eq!(
        refused_plain(&dict),
        "the order of the layers (a, b, c) is unknown: `a b c` and `b a c` both fit; list the layers (option `layers`)"
    );
    let dict = StateDict::new().floats("conv.weight", &[4, 2, 3]);
    assert_eq!(
        refused_plain(&dict),
        "the order of the layers (conv) is unknown: the stride and padding of conv, a Conv1d, are not in its tensors; \
         list the layers (option `layers`)"
    );
    assert_eq!(
        refused_plain(&StateDict::new()),
        "the order of the layers () is unknown: no tensor has the name of a PyTorch Linear, Conv1d, GRU or LSTM"
    );
}

#[test]
fn what_was_assumed_is_reported() {
    let assumed = |dict: &StateDict, options: &ImportOptions| import(dict, options).assumptions;
    let plain = ImportOptions::default();
    let dict = gru_and_fc().linear("head", 3, 2);
    let expected =
        ["the order of the layers is rnn fc head, the only one in which they fit", "no activation behind fc, head"];
    assert_eq!(assumed(&dict, &plain), expected);
    assert_eq!(assumed(&dict, &listed("rnn fc:relu head")), [""; 0]);
    let dict = StateDict::new().floats("conv.weight", &[4, 2, 3]);
    let expected = ["conv is a Conv1d with stride=1, padding=0, dilation=1, groups=1, not transposed"];
    assert_eq!(assumed(&dict, &listed("conv")), expected);
    let expected = ["conv is a Conv1d with padding=0, dilation=1, groups=1, not transposed"];
    assert_eq!(assumed(&dict.metadata("skinny.layers", "conv:stride=2"), &plain), expected);
    assert_eq!(assumed(&gru_and_fc(), &listed("rnn:gru,fc:linear")), [""; 0]);
}

#[test]
fn a_weight_that_may_be_an_embedding_is_refused_unless_it_is_said_to_be_linear() {
    let message = |name: &str, list: &str| {
        format!(
            "tensor {name}.weight: 16 x 5 and no bias may be the table of an Embedding, which is not supported; if it is a \
             Linear, say so in the list of layers: `{list}` (option `layers`)"
        )
    };
    let dict = StateDict::new().floats("first.weight", &[16, 5]).recurrent("rnn", "_l0", 3, 4, 16).linear("fc", 2, 4);
    assert_eq!(refused_plain(&dict), message("first", "first:linear rnn fc"));
    assert_eq!(refused(&dict, &listed("first rnn fc:relu")), message("first", "first:linear rnn fc:relu"));
    let model = import(&dict, &listed("first:linear rnn fc")).model;
    assert_eq!(kinds(&model), ["first: linear", "rnn.l0: GRU", "fc: linear"]);
    // Frames are no indices.
    let model = import(&dict, &listed("first:stack=5 rnn fc")).model;
    assert_eq!((model.input_size(), model.stride()), (1, 5));

    // By its name, wherever it is; behind the first layer others pass.
    let named = |name: &str| StateDict::new().linear("a", 5, 3).floats(&format!("{name}.weight"), &[16, 5]);
    for name in ["emb", "word_embedding", "enc.Embed"] {
        assert_eq!(refused_plain(&named(name)), message(name, &format!("a {name}:linear")));
        import(&named(name), &listed(&format!("a {name}:linear")));
    }
    import(&named("b"), &ImportOptions::default());
    // With a bias it is none.
    import(&StateDict::new().linear("embedding", 16, 5), &ImportOptions::default());

    // 50 words of 16 features, as PyTorch has it: no order fits.
    let dict = StateDict::new().floats("e.weight", &[50, 16]).recurrent("rnn", "_l0", 3, 4, 16).linear("fc", 50, 4);
    let dict = dict.linear("other", 2, 50);
    assert_eq!(
        refused_plain(&dict),
        "the order of the layers (e, fc, other, rnn) is unknown: in no order do all outputs fit the next inputs; e may be \
         an Embedding (50 x 16, no bias), which is not supported"
    );
    assert!(refused(&dict, &listed("e rnn fc other")).starts_with("tensor e.weight: 50 x 16 and no bias may be"));
}

#[test]
fn options_that_do_not_belong_to_a_layer_are_refused() {
    let dict = gru_and_fc();
    let linear = "which takes relu, clip=MAX, stack=FRAMES and, together with stack, stride=FRAMES and padding=FRAMES";
    for (layers, item, reason) in [
        ("rnn:stride=3:relu fc", "rnn:stride=3:relu", "stride=3 is not for a GRU, which takes no options".into()),
        ("rnn:relu fc", "rnn:relu", "relu is not for a GRU, which takes no options".into()),
        ("rnn:clip=20 fc", "rnn:clip=20", "clip=20 is not for a GRU, which takes no options".into()),
        ("rnn fc:padding=2", "fc:padding=2", format!("padding=2 is not for a Linear, {linear}")),
        ("rnn fc:stride=2:relu", "fc:stride=2:relu", format!("stride=2 is not for a Linear, {linear}")),
        ("rnn:lstm fc", "rnn:lstm", "the layer is a GRU, not an LSTM".into()),
        ("rnn fc:conv", "fc:conv", "the layer is a Linear, not a Conv1d".into()),
        ("rnn fc:stack=3", "fc:stack=3", "the layer's 4 inputs are not 3 frames of equal size".into()),
        ("rnn fc:stack=0", "fc:stack=0", "the layer's 4 inputs are not 0 frames of equal size".into()),
        ("rnn fc:relu:clip=2", "fc:relu:clip=2", "clip=2 comes after another option of its kind".into()),
        ("rnn fc:stack=2:stack=2", "fc:stack=2:stack=2", "stack=2 comes after another option of its kind".into()),
        ("rnn fc:gru:linear", "fc:gru:linear", "linear comes after another option of its kind".into()),
        ("rnn fc:relu=1", "fc:relu=1", "relu takes no value".into()),
        ("rnn fc:linear=1", "fc:linear=1", "linear takes no value".into()),
        ("rnn fc:clip", "fc:clip", "clip: the maximum must be a positive number, as in clip=20".into()),
        ("rnn fc:clip=-1", "fc:clip=-1", "clip=-1: the maximum must be a positive number, as in clip=20".into()),
        ("rnn fc:stack=x", "fc:stack=x", "stack=x: stack is a number of frames, as in stack=2".into()),
        ("rnn fc:stride=-1", "fc:stride=-1", "stride=-1: stride is a number of frames, as in stride=2".into()),
        (
            "rnn fc:tanh",
            "fc:tanh",
            "no option is called \"tanh\"; options are relu, clip=MAX, stride=FRAMES, padding=FRAMES, stack=FRAMES and the \
             kinds linear, conv, gru, lstm"
                .into(),
        ),
        ("gru fc", "gru", "the file has no such layer; it has fc, rnn".into()),
        ("rnn rnn fc", "rnn", "the layer is listed twice".into()),
        (" ,\n", " ,\\n", "no layer is listed".into()),
        ("rnn fc:dilation=2", "fc:dilation=2", "a Conv1d with dilation is not supported".into()),
    ] {
        assert_eq!(refused(&dict, &listed(layers)), format!("list of layers, `{item}`: {reason}"));
        let dict = gru_and_fc().metadata("skinny.layers", layers);
        assert_eq!(refused_plain(&dict), format!("list of layers, `{item}`: {reason}"));
    }
    let dict = StateDict::new().floats("conv.weight", &[4, 2, 3]);
    assert_eq!(
        refused(&dict, &listed("conv:stack=3")),
        "list of layers, `conv:stack=3`: stack=3 is not for a Conv1d, which takes relu, clip=MAX, stride=FRAMES and \
         padding=FRAMES"
    );
    assert_eq!(refused(&dict, &listed("conv:padding=3")), "layer conv: padding is 3, must be below the kernel");
}

#[test]
fn stacked_frames_make_a_convolution() {
    let dict = StateDict::new().linear("fc", 2, 6);
    for (options, kernel, stride, padding) in
        [("stack=3", 3, 3, 0), ("stack=2:stride=1:padding=1:clip=5", 2, 1, 1), ("stack=1:stride=2", 1, 2, 0)]
    {
        let model = import(&dict, &listed(&format!("fc:{options}"))).model;
        match model.layers().next() {
            Some(("fc", Layer::TimeConvolution(layer))) => {
                assert_eq!((layer.kernel(), layer.stride(), layer.padding()), (kernel, stride, padding));
                assert_eq!((layer.input_size(), layer.output_size()), (6 / kernel, 2));
            }
            other => panic!("{other:?}"),
        }
    }
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
    // Where the one does not divide the other, it is another mistake.
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
    let named = "which is not supported; as a";
    assert_eq!(
        refused_plain(&cell(3)),
        format!("tensor c.weight_hh: a GRUCell, {named} GRU it has other names, c.weight_hh_l0 for c.weight_hh")
    );
    assert_eq!(
        refused_plain(&cell(4)),
        format!("tensor c.weight_hh: an LSTMCell, {named} LSTM it has other names, c.weight_hh_l0 for c.weight_hh")
    );
    assert_eq!(refused_plain(&cell(1)), "tensor c.weight_hh: an RNNCell, which is not supported, only GRU and LSTM");
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
    assert!(of("weight", &[2]).starts_with("tensor m.weight: a weight of one dimension is that of a normalization"));
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
    // Layer 1 without its input weights; layers 0 and 2; a layer whose number nobody counts to; none that is the first.
    assert_eq!(missing(&first().floats("rnn.weight_hh_l1", &[12, 4])), "rnn.weight_ih_l1");
    assert_eq!(missing(&first().recurrent("rnn", "_l2", 3, 4, 4)), "rnn.weight_ih_l1");
    assert_eq!(missing(&first().floats("rnn.bias_ih_l18446744073709551615", &[12])), "rnn.weight_ih_l1");
    assert_eq!(missing(&StateDict::new().recurrent("rnn", "_l1", 3, 4, 5)), "rnn.weight_ih_l0");
    // A direction, and a bias, on one side only.
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
    assert_eq!(refused_plain(&both), "tensor rnn.weight: its module has the parameters of a recurrent layer too");
}

#[test]
fn what_is_no_float_can_be_dropped_and_not_kept() {
    let dict = gru_and_fc()
        .tensor("bn.num_batches_tracked", "I64", &[], &7i64.to_le_bytes())
        .tensor("mask", "BOOL", &[3], &[1, 0, 1])
        .floats("bn.mean", &[4]);
    assert_eq!(
        refused(&dict, &keeping(&["bn.*"])),
        "tensor bn.num_batches_tracked: numbers of type I64 cannot be kept, only F32, F16 and BF16; drop it (option `drop`)"
    );
    assert_eq!(
        refused(&dict, &keeping(&["mask"])),
        "tensor mask: numbers of type BOOL cannot be kept, only F32, F16 and BF16; drop it (option `drop`)"
    );
    let model = import(&dict, &dropping(&["bn.*", "mask"])).model;
    assert!(model.attachments().is_empty());
    // What is kept is not dropped, whatever else is.
    let options = ImportOptions { keep: vec!["bn.mean".into()], ..dropping(&["bn.*", "bn.mean", "*as*", "nothing.*"]) };
    let model = import(&dict, &options).model;
    assert_eq!(model.attachments().keys().collect::<Vec<_>>(), ["bn.mean"]);
    import(&dict, &ImportOptions { keep: vec!["*.mean".into()], ..dropping(&["*.num_batches_tracked", "mask"]) });
    assert_eq!(refused(&dict, &dropping(&["bm"])), "tensor bm: missing");
    assert_eq!(
        refused(&gru_and_fc().floats("x", &[2, 2]), &ImportOptions::default()),
        "tensor x: the model has no use for it"
    );
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
    let pytorch = "load it in PyTorch and write its state dict with safetensors.torch.save_file";
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
        (b"PK\x03\x04\0\0\0\0\0\0weight.npy", "NumPy arrays (.npz)".into()),
    ] {
        let expected = format!("not a safetensors file: it is {format}");
        assert_eq!(refused_file(bytes, &plain), expected);
        let own = Model::from_bytes(bytes, skinny::Tier::Portable).unwrap_err();
        assert_eq!(own.to_string(), expected);
    }
    assert_eq!(refused_file(b"", &plain), "not a safetensors file: shorter than 8 bytes");
    assert_eq!(refused_file(b"\x10\0\0\0\0\0\0\0{", &plain), "not a safetensors file: a header of 16 bytes in 9");
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
    assert!(message.starts_with("not a safetensors file: header: fc.weight is there twice"), "{message}");
    let shapes = entry("fc.weight", r#""shape":[1,1],"shape":[1,1,1],"data_offsets":[0,4]"#);
    let message = refused_file(&file(&format!("{{{shapes}}}"), &[0; 4]), &plain);
    assert!(message.starts_with("not a safetensors file: header: shape is there twice"), "{message}");
    let metadata = r#""__metadata__":{"skinny.layers":"a","skinny.layers":"fc"}"#;
    let message = refused_file(&file(&format!("{{{metadata},{weight}}}"), &[0; 4]), &plain);
    assert!(message.contains("skinny.layers is there twice"), "{message}");
    // Metadata that is not text.
    for metadata in [r#"{"skinny.layers":7}"#, r#"{"a":{}}"#, "7", "[]"] {
        let file = file(&format!(r#"{{"__metadata__":{metadata},{weight}}}"#), &[0; 4]);
        assert!(refused_file(&file, &plain).starts_with("not a safetensors file: "));
    }
    // Only a header, and one without anything in it.
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
    // Unicode, dots, nothing.
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
    // One element everywhere.
    let model = import(&StateDict::new().recurrent("rnn", "_l0", 4, 1, 1).linear("fc", 1, 1), &listed("rnn fc")).model;
    assert_eq!((model.input_size(), model.output_size()), (1, 1));
}

/// The matrix that a weight stands for.
fn matrix(weight: &Weight) -> Vec<f32> {
    weight.dequantize().unwrap().into_vec()
}

/// `u v`, summed in `f64`.
fn product(u: &[f32], v: &[f32], rank: usize) -> Vec<f32> {
    let (rows, cols) = (u.len() / rank, v.len() / rank);
    let element = |i: usize| {
        (0..rank).map(|r| f64::from(u[i / cols * rank + r]) * f64::from(v[r * cols + i % cols])).sum::<f64>()
    };
    (0..rows * cols).map(|i| element(i) as f32).collect()
}

fn assert_near(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} {b:?}");
}

/// What `train::Recognizer::to_safetensors` writes for the scheme `PartiallyJoint`, and PyTorch modules that are factored
/// likewise.
#[test]
fn factored_weights_are_read() {
    let (hidden, input, rank) = (4, 5, 2);
    let dict = StateDict::new()
        .floats("gru.weight_ih_l0.u", &[3 * hidden, rank])
        .floats("gru.weight_ih_l0.v", &[rank, input])
        .floats("gru.weight_hh_l0", &[3 * hidden, hidden])
        .floats("gru.bias_ih_l0", &[3 * hidden])
        .floats("gru.bias_hh_l0", &[3 * hidden])
        .floats("fc.weight.u", &[7, 1])
        .floats("fc.weight.v", &[1, hidden])
        .floats("fc.bias", &[7]);
    let model = import(&dict, &ImportOptions::default()).model;
    assert_eq!(kinds(&model), ["gru.l0: GRU", "fc: linear"]);
    let layers: Vec<&Layer> = model.layers().map(|(_, layer)| layer).collect();
    let [Layer::Gru(gru), Layer::Linear(fc)] = layers[..] else { panic!("{layers:?}") };
    assert_eq!((gru.weight_ih().rank(), gru.weight_hh().rank(), fc.weight().rank()), (Some(rank), None, Some(1)));
    assert_eq!(model.parameters(), rank * (12 + 5) + 48 + 24 + (7 + 4) + 7);
    let (u, v) = (pattern("gru.weight_ih_l0.u", 24), pattern("gru.weight_ih_l0.v", 10));
    assert_near(&matrix(gru.weight_ih()), &product(&u, &v, rank));
    assert_near(&matrix(fc.weight()), &product(&pattern("fc.weight.u", 7), &pattern("fc.weight.v", 4), 1));
    // And comes back from a file of this crate.
    let file = model.to_bytes().unwrap();
    assert_eq!(Model::from_bytes(&file, skinny::Tier::Portable).unwrap().to_bytes().unwrap(), file);

    let of = |u: [usize; 2], v: [usize; 2]| {
        refused_plain(&StateDict::new().floats("fc.weight.u", &u).floats("fc.weight.v", &v).floats("fc.bias", &[3]))
    };
    assert_eq!(of([3, 2], [1, 4]), "tensor fc.weight: factor V: expected 2 x 4, found 1 x 4");
    assert_eq!(of([3, 4], [4, 4]), "tensor fc.weight: rank 4 is outside 1..=3");
    let both = StateDict::new().linear("fc", 3, 2).floats("fc.weight.u", &[3, 1]).floats("fc.weight.v", &[1, 2]);
    assert_eq!(refused_plain(&both), "tensor fc.weight.u: the model has no use for it");
}

/// The scheme `Split`: each gate by itself, some factored and some not.
#[test]
fn weights_are_read_gate_by_gate() {
    let (hidden, input) = (4, 5);
    let mut dict = StateDict::new().floats("gru.weight_hh_l0", &[3 * hidden, hidden]);
    let mut expected = Vec::new();
    for gate in 0..3 {
        let name = format!("gru.weight_ih_l0.{gate}");
        if gate == 1 {
            dict = dict.floats(&name, &[hidden, input]);
            expected.extend(pattern(&name, hidden * input));
        } else {
            let [u, v] = [format!("{name}.u"), format!("{name}.v")];
            dict = dict.floats(&u, &[hidden, 1]).floats(&v, &[1, input]);
            expected.extend(product(&pattern(&u, hidden), &pattern(&v, input), 1));
        }
    }
    let model = import(&dict, &ImportOptions::default()).model;
    let Some((_, Layer::Gru(gru))) = model.layers().next() else { panic!() };
    assert!(matches!(gru.weight_ih(), Weight::Stacked(_)));
    assert_near(&matrix(gru.weight_ih()), &expected);
    // A gate less.
    let two = StateDict::new()
        .floats("gru.weight_hh_l0", &[12, 4])
        .floats("gru.weight_ih_l0.0", &[4, 5])
        .floats("gru.weight_ih_l0.1", &[4, 5]);
    assert_eq!(refused_plain(&two), "layer gru.l0: weight_ih: expected 12 x 5, found 8 x 5");
    let gap = StateDict::new().floats("gru.weight_hh_l0", &[12, 4]).floats("gru.weight_ih_l0.1", &[4, 5]);
    assert_eq!(refused_plain(&gap), "tensor gru.weight_ih_l0: missing");
}

/// The scheme `Joint`: input and recurrent weights side by side.
#[test]
fn weights_are_read_side_by_side() {
    let (hidden, input, rank) = (4, 5, 2);
    let columns = |w: &[f32], range: std::ops::Range<usize>| -> Vec<f32> {
        w.chunks(hidden + input).flat_map(|row| row[range.clone()].to_vec()).collect()
    };
    let dense = StateDict::new().floats("gru.weight_l0", &[12, 9]).linear("fc", 2, 4);
    let factors = StateDict::new()
        .floats("gru.weight_l0.u", &[12, rank])
        .floats("gru.weight_l0.v", &[rank, 9])
        .linear("fc", 2, 4);
    let product = product(&pattern("gru.weight_l0.u", 12 * rank), &pattern("gru.weight_l0.v", rank * 9), rank);
    for (dict, w) in [(dense.clone(), pattern("gru.weight_l0", 12 * 9)), (factors, product)] {
        let Import { model, assumptions, .. } = import(&dict, &ImportOptions::default());
        let Some((_, Layer::Gru(gru))) = model.layers().next() else { panic!() };
        assert_near(&matrix(gru.weight_ih()), &columns(&w, 0..input));
        assert_near(&matrix(gru.weight_hh()), &columns(&w, input..input + hidden));
        assert_eq!(assumptions.last().map(String::as_str), Some("gru is a GRU, as its name says"));
        if let (Weight::LowRank(ih), Weight::LowRank(hh)) = (gru.weight_ih(), gru.weight_hh()) {
            assert!(ih.shares_u_with(hh));
        }
        assert!(import(&dict, &listed("gru:gru fc")).assumptions.is_empty());
    }
    // 12 rows are 3 gates of 4, or 4 of 3, unless the other layers, the list or the number of columns say it.
    let unnamed = StateDict::new().floats("r.weight_l0", &[12, 9]);
    assert_eq!(
        refused_plain(&unnamed),
        "tensor r.weight_l0: 12 x 9 may be the weights of a GRU or of an LSTM side by side: name it `r:gru` or `r:lstm` \
         (option `layers`)"
    );
    let lstm = import(&unnamed, &listed("r:lstm")).model;
    assert_eq!((kinds(&lstm), lstm.input_size(), lstm.output_size()), (vec!["r.l0: LSTM".into()], 6, 3));
    let only = import(&StateDict::new().floats("r.weight_l0", &[12, 4]), &ImportOptions::default()).model;
    assert_eq!((kinds(&only), only.input_size()), (vec!["r.l0: LSTM".into()], 1));
    assert_eq!(
        refused(&StateDict::new().floats("r.weight_l0", &[12, 4]), &listed("r:gru")),
        "tensor r.weight_l0: expected 3 x hidden rows and more than hidden columns, found [12, 4]"
    );
}
