//! State dicts of PyTorch: the order of their layers, what the list of layers says about them, what is assumed, and how
//! their weights may be stored.

#[path = "common/state_dict.rs"]
mod state_dict;

use skinny::factored::Weight;
use skinny::model::{Import, ImportOptions, Layer, Model};
use state_dict::{StateDict, dropping, gru_and_fc, import, keeping, kinds, listed, pattern, refused, refused_plain};

/// 854 bytes of such a list once took 50 seconds.
#[test]
fn the_order_of_many_layers_takes_no_time() {
    let mut dict = StateDict::new();
    for i in 0..11 {
        dict = dict.floats(&format!("l{i}.weight"), &[1, 1]);
    }
    dict = dict.floats("z.weight", &[3, 2]);
    let expected = "the order of the layers (l0, l1, l10, l2, l3, l4, l5, l6, l7, l8, l9, z) is unknown: no order \
                    connects each output to the next input; l0 may be an Embedding (1 x 1, no bias), which is not supported";
    assert_eq!(refused_plain(&dict), expected);

    // Far more than twelve layers, not in the order of their names.
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
    let expected = ["the order of the layers is rnn fc head, the only one that fits", "no activation after fc, head"];
    assert_eq!(assumed(&dict, &plain), expected);
    assert_eq!(assumed(&dict, &listed("rnn fc:relu head")), [""; 0]);
    let dict = StateDict::new().floats("conv.weight", &[4, 2, 3]);
    let expected = ["conv is a Conv1d with stride=1, padding=0, dilation=1, groups=1, not transposed"];
    assert_eq!(assumed(&dict, &listed("conv")), expected);
    let expected = ["conv is a Conv1d with padding=0, dilation=1, groups=1, not transposed"];
    assert_eq!(assumed(&dict.clone().metadata("skinny.layers", "conv:stride=2"), &plain), expected);
    let expected = ["conv is a Conv1d with stride=1, padding_mode=zeros, dilation=1, groups=1, not transposed"];
    assert_eq!(assumed(&dict, &listed("conv:padding=2")), expected);
    let expected = ["conv is a Conv1d with stride=1, dilation=1, groups=1, not transposed"];
    assert_eq!(assumed(&dict, &listed("conv:padding=0")), expected);
    // Of weights side by side, these shapes leave no other kind: 3 gates of 3 features, 4 gates of 2.
    for (shape, kind) in [([9, 8], "GRU"), ([8, 7], "LSTM")] {
        let dict = StateDict::new().floats("rnn.weight_l0", &shape);
        assert_eq!(assumed(&dict, &listed("rnn")), [""; 0]);
        assert_eq!(kinds(&import(&dict, &plain).model), [format!("rnn.l0: {kind}")]);
    }
    assert_eq!(assumed(&gru_and_fc(), &listed("rnn:gru,fc:linear")), [""; 0]);
}

/// What the list does not say is PyTorch's own default.
#[test]
fn a_convolution_has_the_defaults_of_pytorch() {
    let dict = StateDict::new().floats("conv.weight", &[4, 2, 3]);
    for (list, expected) in [("conv", (1, 0)), ("conv:stride=2", (2, 0)), ("conv:padding=1", (1, 1))] {
        let model = import(&dict, &listed(list)).model;
        let Some((_, Layer::TimeConvolution(layer))) = model.layers().next() else { panic!("not a convolution") };
        assert_eq!((layer.stride(), layer.padding()), expected, "{list}");
    }
}

#[test]
fn a_weight_that_may_be_an_embedding_is_refused_unless_it_is_said_to_be_linear() {
    let message = |name: &str, list: &str| {
        format!(
            "tensor {name}.weight: 16 x 5 without a bias may be the table of an Embedding, which is not supported; if it is \
             a Linear, say so in the list of layers: `{list}` (option `layers`)"
        )
    };
    let dict = StateDict::new().floats("first.weight", &[16, 5]).recurrent("rnn", "_l0", 3, 4, 16).linear("fc", 2, 4);
    assert_eq!(refused_plain(&dict), message("first", "first:linear rnn fc"));
    assert_eq!(refused(&dict, &listed("first rnn fc:relu")), message("first", "first:linear rnn fc:relu"));
    let model = import(&dict, &listed("first:linear rnn fc")).model;
    assert_eq!(kinds(&model), ["first: linear", "rnn.l0: GRU", "fc: linear"]);
    // Frames of features are no indices into an embedding.
    let model = import(&dict, &listed("first:stack=5 rnn fc")).model;
    assert_eq!((model.input_size(), model.stride()), (1, 5));

    // The name gives an embedding away anywhere. Behind the first layer, matrices with other names pass.
    let named = |name: &str| StateDict::new().linear("a", 5, 3).floats(&format!("{name}.weight"), &[16, 5]);
    for name in ["emb", "word_embedding", "enc.Embed"] {
        assert_eq!(refused_plain(&named(name)), message(name, &format!("a {name}:linear")));
        import(&named(name), &listed(&format!("a {name}:linear")));
    }
    import(&named("b"), &ImportOptions::default());
    // With a bias it is no embedding.
    import(&StateDict::new().linear("embedding", 16, 5), &ImportOptions::default());

    // An embedding of 50 words of 16 features in PyTorch's layout: no order fits.
    let dict = StateDict::new().floats("e.weight", &[50, 16]).recurrent("rnn", "_l0", 3, 4, 16).linear("fc", 50, 4);
    let dict = dict.linear("other", 2, 50);
    assert_eq!(
        refused_plain(&dict),
        "the order of the layers (e, fc, other, rnn) is unknown: no order connects each output to the next input; e may be \
         an Embedding (50 x 16, no bias), which is not supported"
    );
    assert!(refused(&dict, &listed("e rnn fc other")).starts_with("tensor e.weight: 50 x 16 without a bias may be"));
}

#[test]
fn options_that_do_not_belong_to_a_layer_are_refused() {
    let dict = gru_and_fc();
    let linear = "which takes relu, clip=MAX, stack=FRAMES and, together with stack, stride=FRAMES and padding=FRAMES";
    for (layers, item, reason) in [
        ("rnn:stride=3:relu fc", "rnn:stride=3:relu", "stride=3 does not apply to a GRU, which takes no options".into()),
        ("rnn:relu fc", "rnn:relu", "relu does not apply to a GRU, which takes no options".into()),
        ("rnn:clip=20 fc", "rnn:clip=20", "clip=20 does not apply to a GRU, which takes no options".into()),
        ("rnn fc:padding=2", "fc:padding=2", format!("padding=2 does not apply to a Linear, {linear}")),
        ("rnn fc:stride=2:relu", "fc:stride=2:relu", format!("stride=2 does not apply to a Linear, {linear}")),
        ("rnn:lstm fc", "rnn:lstm", "the layer is a GRU, not an LSTM".into()),
        ("rnn fc:conv", "fc:conv", "the layer is a Linear, not a Conv1d".into()),
        ("rnn fc:stack=3", "fc:stack=3", "the layer's 4 inputs are not 3 frames of equal size".into()),
        ("rnn fc:stack=0", "fc:stack=0", "the layer's 4 inputs are not 0 frames of equal size".into()),
        ("rnn fc:relu:clip=2", "fc:relu:clip=2", "clip=2 repeats or contradicts an earlier option".into()),
        ("rnn fc:stack=2:stack=2", "fc:stack=2:stack=2", "stack=2 repeats or contradicts an earlier option".into()),
        ("rnn fc:gru:linear", "fc:gru:linear", "linear repeats or contradicts an earlier option".into()),
        ("rnn fc:relu=1", "fc:relu=1", "relu takes no value".into()),
        ("rnn fc:linear=1", "fc:linear=1", "linear takes no value".into()),
        ("rnn fc:clip", "fc:clip", "clip: the maximum must be a positive number, as in clip=20".into()),
        ("rnn fc:clip=-1", "fc:clip=-1", "clip=-1: the maximum must be a positive number, as in clip=20".into()),
        ("rnn fc:stack=x", "fc:stack=x", "stack=x: stack is a number of frames, as in stack=2".into()),
        ("rnn fc:stride=-1", "fc:stride=-1", "stride=-1: stride is a number of frames, as in stride=2".into()),
        (
            "rnn fc:tanh",
            "fc:tanh",
            "unknown option \"tanh\"; the options are relu, clip=MAX, stride=FRAMES, padding=FRAMES, stack=FRAMES and the \
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
        "list of layers, `conv:stack=3`: stack=3 does not apply to a Conv1d, which takes relu, clip=MAX, stride=FRAMES and \
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
fn what_is_no_float_can_be_dropped_and_not_kept() {
    let dict = gru_and_fc()
        .tensor("bn.num_batches_tracked", "I64", &[], &7i64.to_le_bytes())
        .tensor("mask", "BOOL", &[3], &[1, 0, 1])
        .floats("bn.mean", &[4]);
    assert_eq!(
        refused(&dict, &keeping(&["bn.*"])),
        "tensor bn.num_batches_tracked: a tensor of type I64 cannot be kept, only F32, F16 and BF16; drop it (option `drop`)"
    );
    assert_eq!(
        refused(&dict, &keeping(&["mask"])),
        "tensor mask: a tensor of type BOOL cannot be kept, only F32, F16 and BF16; drop it (option `drop`)"
    );
    let model = import(&dict, &dropping(&["bn.*", "mask"])).model;
    assert!(model.attachments().is_empty());
    // A tensor that is kept is not dropped, whatever pattern also matches it.
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

/// What `train::Recognizer::to_safetensors` writes for the scheme `PartiallyJoint`, and PyTorch modules factored in the
/// same way.
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
    // It also comes back from a file of this crate.
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

/// PyTorch's layers are all of one size. Those that this crate trains need not be.
#[test]
fn layers_of_a_module_may_differ_in_size() {
    let dict = StateDict::new().linear("fc", 3, 6);
    let apart = dict.clone().recurrent("gru", "_l0", 3, 8, 4).recurrent("gru", "_l1", 3, 6, 8);
    let mut joint = dict;
    for (l, input, hidden) in [(0, 4, 8), (1, 8, 6)] {
        let rows = 3 * hidden;
        joint = joint
            .floats(&format!("gru.weight_l{l}.u"), &[rows, 2])
            .floats(&format!("gru.weight_l{l}.v"), &[2, input + hidden])
            .floats(&format!("gru.bias_ih_l{l}"), &[rows])
            .floats(&format!("gru.bias_hh_l{l}"), &[rows]);
    }
    for dict in [apart, joint] {
        let model = import(&dict, &ImportOptions::default()).model;
        let sizes: Vec<_> = model.layers().map(|(_, layer)| (layer.input_size(), layer.output_size())).collect();
        assert_eq!(sizes, [(4, 8), (8, 6), (6, 3)]);
    }
}

/// The scheme `Split`: each gate by itself, some of them factored.
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
    // One gate is missing.
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
    assert_eq!(
        refused_plain(&dense.floats("gru.weight_hr_l0", &[2, 4])),
        "tensor gru.weight_hr_l0: a projection is not supported for weights stored side by side in one matrix"
    );
    // 12 rows are 3 gates of 4 or 4 gates of 3. The other layers, the list or the number of columns may decide it.
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
