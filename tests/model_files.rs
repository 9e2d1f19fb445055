//! Bad model files give a typed error that says which tensor is wrong and why. They cause no panic, and take no more
//! memory than the file's size justifies.

mod common {
    pub mod hostile;
}

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use common::hostile::{file_of_input, load_and_run, load_input};
use skinny::factored::{
    DepthwiseConvolution, Embedding, LayerNorm, Linear, Rnn, Slice, TimeConvolution, Weight, Windows,
};
use skinny::kernels::{Activation, WeightFormat};
use skinny::model::{ImportOptions, Layer, Model};
use skinny::{Error, FileError, Mat, TensorProblem, Tier};

/// Counts the bytes that the test's own thread holds, and the most that it ever held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending no longer has a counter.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        MOST.set(MOST.get().max(held.get()));
    });
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller promises what `System` requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn most_bytes_held(run: impl FnOnce()) -> isize {
    let before = HELD.get();
    MOST.set(before);
    run();
    MOST.get() - before
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)).unwrap()
}

/// Small models of every kind of layer and storage, as files of this crate.
fn files() -> Vec<Vec<u8>> {
    let options = ImportOptions { keep: vec!["x".into(), "y".into()], ..ImportOptions::default() };
    let models = ["gru", "lstm_bidirectional", "convolution"]
        .map(|name| Model::from_pytorch(&read(&format!("pytorch/{name}.safetensors")), &options).unwrap());
    let quantized =
        models.iter().cycle().zip(WeightFormat::ALL).map(|(m, format)| m.quantize_to(format, Tier::Portable).unwrap());
    let written = models.iter().cloned().chain(quantized).map(|model| model.to_bytes().unwrap());
    written.chain(["graph", "operations"].map(|name| read(&format!("golden/{name}.safetensors")))).collect()
}

/// The JSON of the header, and the data behind it.
fn split(file: &[u8]) -> (String, Vec<u8>) {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (String::from_utf8(file[8..8 + length].to_vec()).unwrap(), file[8 + length..].to_vec())
}

fn join(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn refused(file: &[u8]) -> FileError {
    match Model::from_bytes(file, Tier::Portable) {
        Err(Error::File(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A number that looks random (a linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn the_maximum_of_a_clipped_relu_is_positive_and_finite() {
    let linear = Linear::new(Weight::dense(Mat::zeros(2, 3).unwrap()).unwrap(), None).unwrap();
    let linear = linear.with_activation(Activation::ClippedRelu(1.5));
    let model = Model::new(vec![("fc".into(), Layer::Linear(linear))]).unwrap();
    let (header, data) = split(&model.to_bytes().unwrap());
    assert_eq!(header.matches("1.5").count(), 1);
    Model::from_bytes(&join(&header.replace("1.5", "2.5"), &data), Tier::Portable).unwrap();
    for max in ["0.0", "-0.0", "-1.5", "1e39"] {
        let message = refused(&join(&header.replace("1.5", max), &data)).to_string();
        assert!(message.contains("maximum of the clipped ReLU"), "{max}: {message}");
    }
}

#[test]
fn damaged_files_do_no_harm() {
    let mut random = Random(1);
    for file in files() {
        load_and_run(&file, &ImportOptions::default());
        // Headers are text, which takes about a dozen times its size in memory at worst.
        let justified = |len: usize| 64 * len as isize + 65_536;
        for _ in 0..400 {
            let mut damaged = file.clone();
            let header = 8 + split(&file).0.len();
            match random.below(4) {
                0 => damaged.truncate(random.below(file.len())),
                1 => (0..=random.below(4)).for_each(|_| damaged[random.below(header)] = random.below(256) as u8),
                2 => (0..=random.below(40)).for_each(|_| damaged[random.below(file.len())] = random.below(256) as u8),
                _ => {
                    // One number of the header is changed.
                    let (text, data) = split(&file);
                    let digits: Vec<usize> =
                        text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at).collect();
                    let at = digits[random.below(digits.len())];
                    let number = ["0", "1", "18446744073709551615", "99999999", "-1", "1e9", "4611686018427387904"];
                    let text = format!("{}{}{}", &text[..at], number[random.below(7)], &text[at + 1..]);
                    damaged = join(&text, &data);
                }
            }
            let held = most_bytes_held(|| load_and_run(&damaged, &ImportOptions::default()));
            assert!(held < justified(damaged.len()), "{held} bytes for a file of {}", damaged.len());
        }
    }
}

/// The seeds and what fuzzing found, each as it is and damaged.
#[test]
fn the_corpus_of_the_fuzz_target_does_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/model_file");
    let mut random = Random(2);
    let mut files = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        load_input(&input);
        files += 1;
        for _ in 0..200 {
            let mut damaged = input.clone();
            (0..=random.below(3)).for_each(|_| damaged[random.below(input.len())] = random.below(256) as u8);
            load_input(&damaged);
        }
    }
    assert!(files > 20, "{files} files");
}

/// Graphs made of random choices; enough of them are models for their sessions to be tried.
#[test]
fn composed_graphs_do_no_harm() {
    let mut random = Random(3);
    let mut models = 0;
    for _ in 0..20_000 {
        let choices: Vec<u8> = std::iter::once(4).chain((0..60).map(|_| random.below(256) as u8)).collect();
        let (file, options) = file_of_input(&choices);
        let held = most_bytes_held(|| load_and_run(&file, &options));
        assert!(held < 64 * file.len() as isize + 65_536, "{held} bytes for a file of {}", file.len());
        models += usize::from(Model::from_bytes(&file, Tier::Portable).is_ok());
    }
    assert!(models > 500, "{models} models");
}

/// Seeds that look for a layer's tensors must find them. Otherwise they would only test the refusal.
#[test]
fn seeds_reach_what_they_are_about() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/model_file");
    for name in ["options", "composed_factored", "composed_split", "composed_joint", "composed_stack", "composed_both"]
    {
        let (file, options) = file_of_input(&std::fs::read(corpus.join(name)).unwrap());
        Model::from_pytorch(&file, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (name, part) in [
        ("zero_dimension", "no dimension of 0"),
        ("composed_zero", "no dimension of 0"),
        ("many_orders", "no order connects"),
        ("composed_orders", "no order connects"),
        ("wrapping_offsets", "beyond the 0 bytes"),
        ("composed_offsets", "beyond the 0 bytes"),
        ("twice", "occurs twice"),
    ] {
        let (file, options) = file_of_input(&std::fs::read(corpus.join(name)).unwrap());
        let error = Model::from_pytorch(&file, &options).unwrap_err().to_string();
        assert!(error.contains(part), "{name}: {error}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let file = &files()[3];
    let (header, data) = split(file);
    let with = |from: &str, to: &str| {
        assert!(header.contains(from), "{from} is not in {header}");
        join(&header.replacen(from, to, 1), &data)
    };
    assert!(matches!(refused(&file[..file.len() - 1]), FileError::Container { .. }));
    assert!(matches!(refused(&with("skinny", "skinni")), FileError::Header { .. }));
    let version = refused(&with(r#"\"version\":\"1\""#, r#"\"version\":\"3\""#));
    assert_eq!(version, FileError::Version { found: "3".into(), supported: "1 or 2" });
    let long = "x".repeat(100_000);
    for (field, most) in [(r#"\"version\":\"1"#, 200), (r#"\"name\":\"fc\",\""#, 1200)] {
        let message = refused(&with(field, &format!("{field}{long}"))).to_string();
        assert!(message.len() < most && message.contains("bytes)"), "{message}");
    }
    let tensor = |name: &str, problem| FileError::Tensor { tensor: name.into(), problem };
    assert_eq!(refused(&with(r#""fc.bias""#, r#""fc.bios""#)), tensor("fc.bias", TensorProblem::Missing));
    let shape = TensorProblem::Shape { expected: "[7, 12]".into(), found: vec![12, 7] };
    assert_eq!(refused(&with("[7,12]", "[12,7]")), tensor("fc.weight.values", shape));
    assert!(matches!(
        refused(&with(r#"\"bias\":true"#, r#"\"bias\":false"#)),
        FileError::Tensor { problem: TensorProblem::Unexpected, .. }
    ));
    let dtype = TensorProblem::Dtype { expected: "I8", found: "U8".into() };
    let retyped = with(r#""fc.weight.values":{"dtype":"I8""#, r#""fc.weight.values":{"dtype":"U8""#);
    assert_eq!(refused(&retyped), tensor("fc.weight.values", dtype));
}

#[test]
fn what_is_wrong_with_a_graph_is_said() {
    let (header, data) = split(&read("golden/graph.safetensors"));
    let refused_with = |from: &str, to: &str| {
        let [from, to] = [from, to].map(|text| text.replace('"', r#"\""#));
        assert!(header.contains(&from), "{from} is not in {header}");
        refused(&join(&header.replacen(&from, &to, 1), &data)).to_string()
    };
    let header_error = |reason: &str| format!("model file, metadata skinny: {reason}");
    for (from, to, reason) in [
        (r#""version":"2""#, r#""version":"1""#, "inputs is unknown in version 1; it came with version 2"),
        (r#""join":"add""#, r#""join":"subtract""#, r#""sum": there is no join "subtract""#),
        (r#""join":"add""#, r#""features":2"#, "unknown field `features`"),
        (r#","join":"add""#, "", r#""sum" is neither a layer nor a join, or both"#),
        (r#""reads":["x"]"#, r#""reads":["y"]"#, r#""conv" reads "y", which is no input and no earlier layer"#),
        (r#""reads":["x"]"#, r#""reads":["fc"]"#, r#""conv" reads "fc", which is no input and no earlier layer"#),
        (r#""reads":["x"]"#, r#""reads":null"#, "invalid type: null"),
        (r#""value":"fc""#, r#""value":"fd""#, r#""scores" reads "fd", which is no input and no earlier layer"#),
    ] {
        let told = refused_with(from, to);
        assert!(told.starts_with(&header_error(reason)), "{told}");
    }
    for (from, to, told) in [
        (
            r#""reads":["sum","gain"]"#,
            r#""reads":["sum"]"#,
            "layer product: values to join: expected 2 elements, found 1",
        ),
        (r#""reads":["x"]"#, r#""reads":["x","x"]"#, "layer conv: values of a layer: expected 1 elements, found 2"),
        (r#""reads":["x"]"#, r#""reads":[]"#, "layer conv: values of a layer: expected 1 elements, found 0"),
        (r#""padding":1"#, r#""padding":0"#, "layer sum: x > conv and x: t - 2 frames for a sequence of t, and t"),
        (r#""name":"gain""#, r#""name":"x""#, "layer x: layers of this name is 2, must be 1"),
        (r#","features":2"#, r#","features":4294967295"#, "layer x: features of all values together is"),
        (
            r#""value":"sum""#,
            r#""value":"sum"},{"name":"sum","value":"x""#,
            "layer sum: layers of this name is 2, must be 1",
        ),
    ] {
        let found = refused_with(from, to);
        assert!(found.starts_with(told), "{found}");
    }
    // A list may not have what came with graphs.
    let (header, data) = split(&files()[3]);
    for (from, to, entry) in [
        (r#""layers":[{"#, r#""inputs":[{"name":"x","features":13}],"layers":[{"#, "inputs"),
        (r#""attachments""#, r#""outputs":[{"name":"y","value":"fc"}],"attachments""#, "outputs"),
        (r#""layer":{"#, r#""reads":["input"],"layer":{"#, "reads"),
    ] {
        let [from, to] = [from, to].map(|text| text.replace('"', r#"\""#));
        assert!(header.contains(&from), "{from} is not in {header}");
        let header = header.replacen(&from, &to, 1);
        let told = refused(&join(&header, &data)).to_string();
        assert_eq!(told, header_error(&format!("{entry} is unknown in version 1; it came with version 2")));
        let newer = join(&header.replacen(r#"version\":\"1"#, r#"version\":\"2"#, 1), &data);
        load_and_run(&newer, &ImportOptions::default());
        model(&newer);
    }
}

/// A list of one layer, whose file says that it is of version 1.
fn told_in_version_1(layer: Layer) -> String {
    let file = Model::new(vec![("one".into(), layer)]).unwrap().to_bytes().unwrap();
    let (header, data) = split(&file);
    let older = header.replace(r#"\"version\":\"2\""#, r#"\"version\":\"1\""#);
    assert_ne!(header, older, "written as version 2");
    refused(&join(&older, &data)).to_string()
}

#[test]
fn layers_of_version_2_are_refused_in_version_1() {
    let linear = |k| Linear::new(Weight::dense(Mat::zeros(2, k).unwrap()).unwrap(), None).unwrap();
    let conv = |windows| Layer::TimeConvolution(TimeConvolution::with_windows(linear(6), windows).unwrap());
    let plain = Windows::new(3, 1, 1);
    let rnn = Rnn::new(linear(4).weight().clone(), linear(2).weight().clone(), None, None).unwrap();
    for layer in [
        conv(Windows { after: 2, ..plain }),
        conv(Windows { dilation: 2, ..plain }),
        conv(Windows { dilation: 2, after: 0, ..plain }),
        Layer::Depthwise(DepthwiseConvolution::new(Mat::zeros(3, 2).unwrap(), None, plain).unwrap()),
        Layer::Rnn(rnn),
        Layer::LayerNorm(LayerNorm::new(2, None, None, 1e-5).unwrap()),
        Layer::Embedding(Embedding::new(Mat::zeros(3, 2).unwrap()).unwrap()),
        Layer::Slice(Slice::new(0..1, 2).unwrap()),
    ] {
        let told = told_in_version_1(layer);
        assert!(told.contains("what layer \"one\" is") && told.contains("it came with version 2"), "{told}");
    }
    // What version 1 can say is written as version 1.
    let file = Model::new(vec![("one".into(), conv(plain))]).unwrap().to_bytes().unwrap();
    assert!(split(&file).0.contains(r#"\"version\":\"1\""#));
}

#[test]
fn an_embedding_has_no_4_bits() {
    let embedding = Embedding::new(Mat::from_vec(vec![0.5; 128], 2, 64).unwrap()).unwrap().quantize().unwrap();
    let file = Model::new(vec![("e".into(), Layer::Embedding(embedding))]).unwrap().to_bytes().unwrap();
    let (header, data) = split(&file);
    for format in ["int4", "int4_group32", "int2_group64"] {
        let told = refused(&join(&header.replace(r#"\"int8\""#, &format!(r#"\"{format}\""#)), &data)).to_string();
        assert!(told.contains("an embedding is f32 or int8") || told.contains("unknown variant"), "{told}");
    }
}

#[test]
fn dimensions_of_zero_are_refused() {
    for (n, k) in [(0usize, 3usize), (3, 0), (0, 0)] {
        for (format, tensors) in [
            ("f32", vec![("fc.weight", "F32", [n, k])]),
            ("int8", vec![("fc.weight.values", "I8", [n, k])]),
            ("int4", vec![("fc.weight.nibbles", "U8", [n, k.div_ceil(2)])]),
            (
                "int4 in groups of 32",
                vec![
                    ("fc.weight.multipliers", "U8", [n, k.div_ceil(32)]),
                    ("fc.weight.nibbles", "U8", [n, k.div_ceil(2)]),
                ],
            ),
            (
                "int2 in groups of 64",
                vec![
                    ("fc.weight.multipliers", "I8", [n, k.div_ceil(64)]),
                    ("fc.weight.quarters", "U8", [n, k.div_ceil(4)]),
                ],
            ),
        ] {
            let layer = format!(
                r#"{{"linear":{{"weight":{{"dense":{{"n":{n},"k":{k},"format":"{format}"}}}},"bias":false,"activation":"identity"}}}}"#
            );
            let model = format!(r#"{{"version":"2","layers":[{{"name":"fc","layer":{layer}}}]}}"#);
            let entries = tensors.iter().map(|(name, dtype, shape)| {
                format!(r#","{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[0,0]}}"#)
            });
            let entries: String = entries.collect();
            let scales = format!(r#","fc.weight.scales":{{"dtype":"F32","shape":[{n}],"data_offsets":[0,{}]}}"#, 4 * n);
            let scales = if format == "f32" { String::new() } else { scales };
            let metadata = serde_json::to_string(&model).unwrap();
            let header = format!(r#"{{"__metadata__":{{"skinny":{metadata}}}{entries}{scales}}}"#);
            let data = if format == "f32" { vec![] } else { vec![0; 4 * n] };
            match refused(&join(&header, &data)) {
                FileError::Tensor { tensor, problem: TensorProblem::Shape { expected, found } } => {
                    assert!(tensor.starts_with("fc.weight") && found.contains(&0), "{tensor} {found:?}");
                    assert_eq!(expected, "no dimension of 0");
                }
                other => panic!("{format}, {n} x {k}: {other}"),
            }
        }
    }
    let empty = skinny::model::Attachment::new(vec![3, 0], vec![]);
    assert_eq!(empty.unwrap_err().to_string(), "dimension of an attachment is 0, must be at least 1");
}

/// A folder for the files of one test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skinny-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn model(file: &[u8]) -> Model {
    Model::from_bytes(file, Tier::Portable).unwrap()
}

/// On other systems an open file may not be replaced.
#[cfg(unix)]
#[test]
fn a_file_is_replaced_in_one_step() {
    use std::io::Read;

    let folder = Folder::new("replaced");
    let path = folder.0.join("model.safetensors");
    let [small, large] = [&files()[3], &files()[1]];
    model(small).save(&path).unwrap();
    assert_eq!(&std::fs::read(&path).unwrap(), small);
    // A reader of the old file goes on reading it.
    let mut reading = std::fs::File::open(&path).unwrap();
    model(large).save(&path).unwrap();
    let mut rest = Vec::new();
    reading.read_to_end(&mut rest).unwrap();
    assert_eq!(&rest, small);
    assert_eq!(&std::fs::read(&path).unwrap(), large);
    assert_eq!(folder.names(), ["model.safetensors"]);
    assert_eq!(Model::load(&path, Tier::Portable).unwrap().to_bytes().unwrap(), *large);
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing_behind() {
    let folder = Folder::new("unwritable");
    // A folder is where the file should go.
    let path = folder.0.join("model.safetensors");
    std::fs::create_dir(&path).unwrap();
    let io = |result: Result<(), Error>, at: &Path| match result {
        Err(Error::File(FileError::Io { path, .. })) => assert_eq!(path, at.display().to_string()),
        other => panic!("{other:?}"),
    };
    io(model(&files()[3]).save(&path), &path);
    assert_eq!(folder.names(), ["model.safetensors"]);
    let path = folder.0.join("nowhere").join("model.safetensors");
    io(model(&files()[3]).save(&path), &path);
    io(Model::load(&path, Tier::Portable).map(drop), &path);
    io(Model::load_pytorch(&path, &ImportOptions::default()).map(drop), &path);
}

#[cfg(unix)]
#[test]
fn many_writers_of_a_file_leave_one_of_theirs() {
    let folder = Folder::new("writers");
    let path = folder.0.join("model.safetensors");
    let files = files();
    let models: Vec<Model> = files.iter().map(|file| model(file)).collect();
    std::thread::scope(|scope| {
        for model in &models {
            scope.spawn(|| (0..10).for_each(|_| model.save(&path).unwrap()));
        }
        scope.spawn(|| {
            for _ in 0..30 {
                match std::fs::read(&path) {
                    Ok(file) => assert!(files.contains(&file), "{} bytes", file.len()),
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
                }
            }
        });
    });
    assert!(files.contains(&std::fs::read(&path).unwrap()));
    assert_eq!(folder.names(), ["model.safetensors"]);
}

#[test]
fn two_bits_are_of_version_2_and_in_range() {
    let (header, data) = split(&read("golden/int2.safetensors"));
    let older = header.replace(r#"\"version\":\"2\""#, r#"\"version\":\"1\""#);
    assert!(older != header);
    let FileError::Header { reason, .. } = refused(&join(&older, &data)) else { panic!("another error") };
    assert_eq!(reason, "the format int2 in groups of 64 is unknown in version 1; it came with version 2");
    // Behind the floats come the bytes of 3 rows: 2 multipliers each, then the weights, of which any byte will do.
    let at = data.len() - 3 * 18 - 6;
    for (multiplier, fits) in [(-128i8, false), (-64, false), (-63, true), (63, true), (64, false), (127, false)] {
        let mut data = data.clone();
        data[at] = multiplier as u8;
        let loaded = Model::from_bytes(&join(&header, &data), Tier::Portable);
        assert_eq!(loaded.is_ok(), fits, "{multiplier}: {loaded:?}");
    }
}

#[test]
fn numbers_that_cannot_be_weights_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, -1.0, 0.0] {
        let mut found = 0;
        let (header, data) = split(&files()[3]);
        // The floats come first in the file: attachments, biases and scales.
        for at in (0..data.len() - 3).step_by(4) {
            let mut data = data.clone();
            data[at..at + 4].copy_from_slice(&bad.to_le_bytes());
            match Model::from_bytes(&join(&header, &data), Tier::Portable) {
                Err(Error::File(FileError::Tensor { problem: TensorProblem::Invalid(_), .. })) => found += 1,
                Err(other) => panic!("{other:?}"),
                Ok(_) => {}
            }
        }
        assert!(found > 100, "{bad} was refused in {found} places");
    }
}
