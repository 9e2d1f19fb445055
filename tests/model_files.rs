//! Model files that are not what they should be: a typed error that says which tensor and why, no panic, and no more
//! memory than the file's size accounts for.

mod common {
    pub mod hostile;
}

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use common::hostile::load_and_run;
use skinny::model::{ImportOptions, Model};
use skinny::{Error, FileError, TensorProblem, Tier, kernels::WeightFormat};

/// Counts the bytes that the test's own thread holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // The thread may be ending, when there is nothing to count any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        MOST.set(MOST.get().max(held.get()));
    });
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
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
        models.iter().zip(WeightFormat::ALL).map(|(m, format)| m.quantize_to(format, Tier::Portable).unwrap());
    models.iter().cloned().chain(quantized).map(|model| model.to_bytes().unwrap()).collect()
}

/// The header's JSON and the data behind it.
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
fn damaged_files_do_no_harm() {
    let mut random = Random(1);
    for file in files() {
        load_and_run(&file);
        // Headers hold text; what it becomes in memory is some dozen times its size at worst.
        let justified = |len: usize| 64 * len as isize + 65_536;
        for _ in 0..400 {
            let mut damaged = file.clone();
            let header = 8 + split(&file).0.len();
            match random.below(4) {
                0 => damaged.truncate(random.below(file.len())),
                1 => (0..=random.below(4)).for_each(|_| damaged[random.below(header)] = random.below(256) as u8),
                2 => (0..=random.below(40)).for_each(|_| damaged[random.below(file.len())] = random.below(256) as u8),
                _ => {
                    // A number of the header becomes another.
                    let (text, data) = split(&file);
                    let digits: Vec<usize> =
                        text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at).collect();
                    let at = digits[random.below(digits.len())];
                    let number = ["0", "1", "18446744073709551615", "99999999", "-1", "1e9", "4611686018427387904"];
                    let text = format!("{}{}{}", &text[..at], number[random.below(7)], &text[at + 1..]);
                    damaged = join(&text, &data);
                }
            }
            let held = most_bytes_held(|| load_and_run(&damaged));
            assert!(held < justified(damaged.len()), "{held} bytes for a file of {}", damaged.len());
        }
    }
}

#[test]
fn the_corpus_of_the_fuzz_target_does_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/model_file");
    let mut files = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        load_and_run(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 0, "the corpus is empty");
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
    let version = refused(&with(r#"\"version\":\"1\""#, r#"\"version\":\"2\""#));
    assert_eq!(version, FileError::Version { found: "2".into(), supported: "1" });
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
