//! Tests of the recipe for strings, and of invalid arguments and recordings.

use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::fsdd::{Recording, SplitMix64, draw};
use crate::sound::{RECORDINGS, decode, items};

fn recording(name: &str) -> Option<Recording> {
    Recording::from_path(Path::new(name))
}

fn args(line: &str) -> Result<Args, String> {
    Args::parse(line.split_whitespace().map(str::to_owned))
}

#[test]
fn names_are_parsed() {
    let recording_7 = recording("some/where/7_jackson_45.wav").unwrap();
    assert_eq!((recording_7.digit, recording_7.index, &*recording_7.speaker), (7, 45, "jackson"));
    for name in [
        "README.md",
        "7_jackson_45.mp3",
        "7_jackson.wav",
        "7__45.wav",
        "12_jackson_45.wav",
        "7_jackson_+45.wav",
        "7_jackson_.wav",
        "7_jack_son_45.wav",
        "x_jackson_45.wav",
        "7_jackson_99999999999.wav",
        "_jackson_45.wav",
    ] {
        assert_eq!(recording(name), None, "{name}");
    }
}

#[test]
fn the_generator_is_the_published_one() {
    let mut random = SplitMix64(0);
    let expected = [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F];
    assert_eq!(expected.map(|_| random.next()), expected);
    let mut seen = [false; 5];
    (0..200).for_each(|_| seen[random.below(5)] = true);
    assert_eq!(seen, [true; 5]);
}

#[test]
fn strings_are_those_of_train_py() {
    let mut recordings = Vec::new();
    for index in 45..50 {
        for speaker in ["yweweler", "theo", "nicolas", "lucas", "jackson", "george"] {
            let name = |digit| PathBuf::from(format!("d/{digit}_{speaker}_{index}.wav"));
            recordings.extend((0..10).map(|digit| Recording::from_path(&name(digit)).unwrap()));
        }
    }
    recordings.sort();
    let strings = draw(&recordings, 5, 2, 1);
    let plain = |(recording, pause): &(&Recording, usize)| (recording.digit, recording.index, *pause);
    let found: Vec<Vec<_>> = strings.iter().map(|string| string.iter().map(plain).collect()).collect();
    // From validation_strings(recordings, 5, 2, 1) of train.py.
    let expected = [
        [(7, 47, 2331), (4, 47, 1066), (7, 48, 2106), (5, 46, 685), (7, 49, 0)],
        [(6, 45, 1092), (5, 46, 1046), (1, 48, 1549), (8, 45, 1636), (8, 49, 0)],
    ];
    assert_eq!(found, expected);
    for (string, speaker) in strings.iter().zip(["nicolas", "lucas"]) {
        assert!(string.iter().all(|(recording, _)| recording.speaker == speaker));
    }
}

#[test]
fn strings_join_recordings_and_pauses() {
    let items = items(&args("--strings 1 --string-length 2").unwrap()).unwrap();
    assert_eq!(items.len(), RECORDINGS.len() + 1);
    let recordings: Vec<_> = items.iter().filter_map(|item| recording(&item.name)).collect();
    let [(first, pause), (last, 0)] = draw(&recordings, 2, 1, 1)[0][..] else { panic!("a string of two") };
    let sound = |wanted: &Recording| &items.iter().find(|item| Path::new(&item.name) == wanted.path).unwrap().samples;
    let expected = [&sound(first)[..], &vec![0.0; pause], sound(last)].concat();
    let string = items.last().unwrap();
    assert!(string.is_string && string.samples == expected && string.rate == 8000);
}

#[test]
fn options_are_read_and_what_makes_no_sense_is_refused() {
    let found = args("--data d --string-length 7 --seed 3 --indices 1..2 --max-cer 5").unwrap();
    assert_eq!((found.string_length, found.seed, found.indices, found.max_cer), (7, 3, 1..=2, Some(5.0)));
    assert_eq!(args("--indices 7").unwrap().indices, 7..=7);
    assert_eq!(args("a.wav b.wav").unwrap().files.len(), 2);
    for line in ["--seed", "--seed x", "--nothing 1", "--string-length 0", "--data d a.wav", "--indices 9..1", "-x 1"] {
        assert!(args(line).is_err(), "{line}");
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    let (_, bytes) = RECORDINGS[0];
    let (rate, samples) = decode(bytes).unwrap();
    assert_eq!((rate, samples.len()), (8000, (bytes.len() - 44) / 2));
    for length in [0, 20, 43, bytes.len() - 1] {
        assert!(decode(&bytes[..length]).is_err(), "{length}");
    }
    assert!(items(&args("no/such.wav").unwrap()).is_err_and(|error| error.to_string().starts_with("no/such.wav: ")));
    assert!(items(&args("--data no/such").unwrap()).is_err_and(|error| error.to_string().starts_with("no/such: ")));
}
