//! Reads and runs a model file that may be hostile, for the tests and the fuzz target.

use std::collections::BTreeSet;
use std::sync::Arc;

use skinny::model::{ImportOptions, Model, Session};
use skinny::{Error, FileError, MatRef, Tier};

/// Reads `data` as a model file of either kind. An accepted model must run, and survive being written and read.
pub fn load_and_run(data: &[u8], options: &ImportOptions) {
    for model in [Model::from_bytes(data, Tier::Portable), Model::from_pytorch(data, options)].into_iter().flatten() {
        let file = model.to_bytes().expect("a model that was read can be written");
        let again = Model::from_bytes(&file, Tier::Portable).expect("a file that was written can be read");
        assert_eq!(again.to_bytes().expect("and written again"), file);
        // A few bytes of a graph can ask for many features without weights. A frame of them takes memory that is the
        // model's own, not that of reading it.
        let values = model.nodes().iter().flat_map(|node| node.reads()).copied();
        let values: BTreeSet<_> = values.chain(model.outputs().map(|(_, value)| value)).collect();
        let features: usize = values.into_iter().filter_map(|value| model.features(value)).sum();
        if 8 * features <= data.len() + 4096 {
            run(model);
        }
    }
}

/// Pushes ordinary and extraordinary frames.
fn run(model: Model) {
    let widths: Vec<usize> = model.inputs().map(|(_, features)| features).collect();
    let mut session = Session::new(Arc::new(model)).expect("room for a session");
    let values = [0.5, -1.0, f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 0.0];
    for rows in [1, 5] {
        let frames = |width| values.iter().copied().cycle().take(rows * width).collect::<Vec<f32>>();
        let inputs: Vec<Vec<f32>> = widths.iter().map(|&width| frames(width)).collect();
        let views = inputs.iter().zip(&widths).map(|(x, &width)| MatRef::new(x, rows, width).expect("frames"));
        let done = session.push_all(&views.collect::<Vec<_>>()).map(drop);
        expect_frames_that_fit(done, &mut session);
    }
    let done = session.finish().map(drop);
    expect_frames_that_fit(done, &mut session);
    assert_eq!(session.finish().expect("another end").rows(), 0);
}

/// Only an embedding may refuse frames: it does not have all of these indices.
fn expect_frames_that_fit(done: Result<(), Error>, session: &mut Session) {
    match done {
        Ok(()) => {}
        Err(Error::File(FileError::Layer { problem, .. })) if matches!(*problem, Error::Parameter { .. }) => {
            session.reset();
        }
        Err(error) => panic!("frames that fit: {error}"),
    }
}

/// Runs an input of the fuzz target.
pub fn load_input(input: &[u8]) {
    let (file, options) = file_of_input(input);
    load_and_run(&file, &options);
}

/// The file and the options in an input of the fuzz target. The first byte says what the rest is:
///
/// - 0: a file.
/// - 1: options up to a byte of 0 (a line of layers, a line to keep, a line to drop), then a file.
/// - 2: the same options, then the header of a file without its length up to a byte of 0, then the data.
/// - 4: the choices of [`composed_graph`].
/// - others: the choices of [`composed`].
pub fn file_of_input(input: &[u8]) -> (Vec<u8>, ImportOptions) {
    match input.split_first() {
        None => (Vec::new(), ImportOptions::default()),
        Some((0, file)) => (file.to_vec(), ImportOptions::default()),
        Some((&mode @ (1 | 2), rest)) => {
            let (text, rest) = until_zero(rest);
            let options = options(&String::from_utf8_lossy(text));
            let (header, data) = until_zero(rest);
            (if mode == 1 { rest.to_vec() } else { file(header, data) }, options)
        }
        Some((4, choices)) => {
            (composed_graph(&mut choices.iter().map(|&byte| usize::from(byte))), ImportOptions::default())
        }
        Some((_, choices)) => composed(&mut choices.iter().map(|&byte| usize::from(byte))),
    }
}

fn until_zero(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    (&bytes[..at], bytes.get(at + 1..).unwrap_or_default())
}

fn options(text: &str) -> ImportOptions {
    let mut lines = text.split('\n');
    let layers = lines.next().filter(|line| !line.is_empty()).map(String::from);
    let mut names = || lines.next().unwrap_or_default().split_whitespace().map(String::from).collect();
    ImportOptions { layers, keep: names(), drop: names() }
}

fn file(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

const PREFIXES: [&str; 16] =
    ["", "fc.", "conv.", "rnn.", "emb.", "a.", "b.", "c.", "d.", "e.", "f.", "g.", "h.", "i.", "gru.", "lstm."];
const PARAMETERS: [&str; 24] = [
    "weight",
    "bias",
    "weight_ih_l0",
    "weight_hh_l0",
    "bias_ih_l0",
    "bias_hh_l0",
    "weight_hr_l0",
    "weight_ih_l0_reverse",
    "weight_hh_l0_reverse",
    "weight_ih_l1",
    "weight_hh_l1",
    "weight.u",
    "weight.v",
    "weight_ih_l0.u",
    "weight_ih_l0.v",
    "weight_ih_l0.0",
    "weight_ih_l0.1",
    "weight_ih_l0.2",
    "weight_l0",
    "weight_l0.u",
    "weight_l0.v",
    "weight_hh",
    "weight_g",
    "running_mean",
];
const TYPES: [(&str, u64); 7] = [("F32", 4), ("F16", 2), ("BF16", 2), ("F64", 8), ("I8", 1), ("I64", 8), ("BOOL", 1)];
const DIMENSIONS: [u64; 16] = [1, 2, 3, 4, 6, 8, 9, 12, 16, 0, 5, 1 << 20, 1 << 31, (1 << 61) - 1, 1 << 62, u64::MAX];
const OPTIONS: [&str; 14] = [
    "",
    ":linear",
    ":conv",
    ":gru",
    ":lstm",
    ":relu",
    ":clip=2",
    ":stack=2",
    ":stack=2:stride=1:padding=1",
    ":stride=2",
    ":padding=1",
    ":stride=18446744073709551615",
    ":stride=0",
    ":bogus",
];

/// A file and options made of words that belong together: the names of modules and parameters, sizes that fit each
/// other, and some that nothing fits. A few choices then reach code that a header of random text would not.
fn composed(choices: &mut dyn Iterator<Item = usize>) -> (Vec<u8>, ImportOptions) {
    let mut next = |limit: usize| choices.next().unwrap_or(0) % limit;
    let mut entries = Vec::new();
    let mut data = Vec::new();
    let mut end = 0u64;
    for _ in 0..next(20) {
        let name = format!("{}{}", PREFIXES[next(PREFIXES.len())], PARAMETERS[next(PARAMETERS.len())]);
        let (dtype, bytes) = TYPES[next(TYPES.len())];
        let shape: Vec<u64> = (0..next(5)).map(|_| DIMENSIONS[next(DIMENSIONS.len())]).collect();
        let size = shape.iter().fold(bytes, |size, &dimension| size.wrapping_mul(dimension));
        let start = end;
        end = end.wrapping_add(size);
        // Larger tensors are only promised by the header, and not in the file.
        if size <= 4096 {
            data.extend((0..size).map(|i| if i % bytes == bytes - 1 { 0x3c } else { i as u8 }));
        }
        entries.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#));
    }
    let item = |next: &mut dyn FnMut(usize) -> usize| {
        let prefix = PREFIXES[next(PREFIXES.len())];
        format!("{}{}", prefix.strip_suffix('.').unwrap_or_default(), OPTIONS[next(OPTIONS.len())])
    };
    let list: Vec<String> = (0..next(16)).map(|_| item(&mut next)).collect();
    let list = list.join(" ");
    let mut options = ImportOptions::default();
    match next(3) {
        0 => {}
        1 => options.layers = Some(list),
        _ => entries.push(format!(r#""__metadata__":{{"skinny.layers":"{list}"}}"#)),
    }
    for names in [&mut options.keep, &mut options.drop] {
        for _ in 0..next(3) {
            names.push(format!("{}*", PREFIXES[next(PREFIXES.len())]));
        }
    }
    (file(format!("{{{}}}", entries.join(",")).as_bytes(), &data), options)
}

/// What nodes of a composed graph are. `K` is a number of features.
const NODES: [&str; 20] = [
    r#""join":"add""#,
    r#""join":"concat""#,
    r#""join":"multiply""#,
    r#""join":"none""#,
    r#""layer":{"linear":{"weight":{"dense":{"n":2,"k":K,"format":"f32"}},"bias":false,"activation":"relu"}}"#,
    r#""layer":{"time_convolution":{"linear":{"weight":{"dense":{"n":K,"k":2,"format":"f32"}},"bias":false,"activation":"identity"},"kernel":2,"stride":1,"padding":1}}"#,
    r#""layer":{"time_convolution":{"linear":{"weight":{"dense":{"n":2,"k":K,"format":"f32"}},"bias":false,"activation":"identity"},"kernel":1,"stride":2,"padding":0,"dilation":9}}"#,
    r#""layer":{"depthwise":{"features":K,"bias":false,"windows":{"kernel":2,"stride":1,"dilation":5,"before":0,"after":5}}}"#,
    r#""layer":{"depthwise":{"features":K,"bias":false,"windows":{"kernel":2,"stride":3,"dilation":9223372036854775807,"before":1,"after":0}}}"#,
    r#""layer":{"rnn":{"weights":{"apart":{"weight_ih":{"dense":{"n":K,"k":K,"format":"f32"}},"weight_hh":{"dense":{"n":K,"k":K,"format":"f32"}}}},"bias_ih":false,"bias_hh":false,"function":"tanh"}}"#,
    r#""layer":{"function":{"function":"softmax","features":K}}"#,
    r#""layer":{"function":{"function":{"hard_sigmoid":{"slope":0.2,"offset":1e30}},"features":K}}"#,
    r#""layer":{"function":{"function":{"normalize":{"epsilon":-1.0}},"features":K}}"#,
    r#""layer":{"affine":{"features":K}}"#,
    r#""layer":{"layer_norm":{"features":K,"weight":true,"bias":false,"epsilon":1e-5}}"#,
    r#""layer":{"embedding":{"n":K,"k":2,"format":"f32"}}"#,
    r#""layer":{"slice":{"features":K,"start":0,"end":1}}"#,
    r#""layer":{"slice":{"features":K,"start":18446744073709551615,"end":0}}"#,
    r#""layer":{"over_time":{"reduction":"mean","features":K}}"#,
    r#""layer":{"over_time":{"reduction":"max","features":K}}"#,
];
/// The tensors that a node of [`NODES`] has, by name and dimensions in which 0 stands for `K`.
fn tensors_of(node: usize) -> &'static [(&'static str, [u64; 2])] {
    match node {
        4 | 6 | 8 => &[("weight", [2, 0])],
        5 | 7 => &[("weight", [0, 2])],
        9 => &[("weight_ih", [0, 0]), ("weight_hh", [0, 0])],
        13 => &[("scale", [0, 1]), ("shift", [0, 1])],
        14 => &[("weight", [0, 1])],
        15 => &[("weight", [0, 2])],
        _ => &[],
    }
}
const FEATURES: [u64; 8] = [2, 2, 2, 2, 2, 1, 1 << 23, u64::MAX];

/// A file of a graph made of nodes and tensors that belong together, and some that do not.
fn composed_graph(choices: &mut dyn Iterator<Item = usize>) -> Vec<u8> {
    let mut next = |limit: usize| choices.next().unwrap_or(0) % limit;
    let mut names: Vec<String> = (0..1 + next(2)).map(|i| format!("in{i}")).collect();
    let inputs = names.iter().map(|name| format!(r#"{{"name":"{name}","features":{}}}"#, FEATURES[next(8)]));
    let inputs = inputs.collect::<Vec<_>>().join(",");
    let (mut nodes, mut entries, mut data) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..next(6) {
        let (name, k, node) = (format!("n{i}"), FEATURES[next(8)], next(NODES.len()));
        // Now and then what it does not have.
        let tensors = tensors_of(if next(16) == 15 { next(NODES.len()) } else { node });
        let kind = NODES[node].replace('K', &k.to_string());
        let count = if next(16) == 15 { next(4) } else { 1 + usize::from(kind.starts_with(r#""join"#)) };
        let reads: Vec<String> = (0..count).map(|_| format!(r#""{}""#, names[next(names.len())])).collect();
        let reads = if next(4) == 0 { String::new() } else { format!(r#","reads":[{}]"#, reads.join(",")) };
        nodes.push(format!(r#"{{"name":"{name}"{reads},{kind}}}"#));
        for (tensor, dimensions) in tensors {
            let shape = dimensions.map(|d| if d == 0 { k } else { d });
            let shape = if shape[1] == 1 { shape[..1].to_vec() } else { shape.to_vec() };
            let bytes = shape.iter().fold(4u64, |size, &dimension| size.wrapping_mul(dimension)).min(4096) as usize;
            let start = data.len();
            data.extend((0..bytes).map(|i| if i % 4 == 3 { 0x3c } else { i as u8 }));
            let offsets = [start, data.len()];
            entries
                .push(format!(r#""{name}.{tensor}":{{"dtype":"F32","shape":{shape:?},"data_offsets":{offsets:?}}}"#));
        }
        names.push(name);
    }
    // All values, or some.
    let all = next(4) > 0;
    let values: Vec<usize> =
        if all { (0..names.len()).collect() } else { (0..next(3)).map(|_| next(names.len())).collect() };
    let output = |value: usize| format!(r#"{{"name":"out{value}","value":"{}"}}"#, names[value]);
    let outputs = values.into_iter().map(output).collect::<Vec<_>>().join(",");
    let version = if next(8) == 7 { "1" } else { "2" };
    let model = format!(
        r#"{{"version":"{version}","inputs":[{inputs}],"layers":[{}],"outputs":[{outputs}]}}"#,
        nodes.join(",")
    );
    let model = model.replace('"', r#"\""#);
    entries.push(format!(r#""__metadata__":{{"skinny":"{model}"}}"#));
    file(format!("{{{}}}", entries.join(",")).as_bytes(), &data)
}
