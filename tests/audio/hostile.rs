//! Descriptions that make no sense, by mistake or on purpose.

use skinny::audio::{Features, FrontEnd, Labels, Stft};
use skinny::{Error, FileError};

use crate::fixture::{entries, model, read};

/// What `read` says about the entries of the digits models with one of them replaced.
fn refusal(name: &str, text: &str) -> (String, String) {
    let mut entries = entries();
    entries.insert(format!("features.{name}"), text.into());
    match read(80, &entries) {
        Err(Error::File(FileError::Header { key, reason })) => (key, reason),
        other => panic!("{name} = {text}: {other:?}"),
    }
}

#[test]
fn an_entry_that_makes_no_sense_is_named() {
    for (name, text, reason) in [
        ("hop", "", "expected a number, found \"\""),
        ("hop", "9.5", "expected a number, found \"9.5\""),
        ("hop", "0", "0, must be 1 to the length of the transform"),
        ("hop", "257", "257, must be 1 to the length of the transform"),
        ("window", "257", "257, must be 1 to the length of the transform"),
        ("fft", "65537", "65537, must be 2 to 65536"),
        ("sample_rate", "99", "99, must be 100 to 1000000"),
        ("mels", "5000", "5000, must be 1 to 4096"),
        ("mel_low_hz", "NaN", "NaN, must be 0 to 1 Hz below mel_high_hz"),
        ("mel_high_hz", "4000.1", "4000.1, must be 1 Hz to half the sample rate"),
        ("mel_high_hz", "inf", "inf, must be 1 Hz to half the sample rate"),
        ("log_floor", "0", "0, must be a finite number above 1.2e-38"),
        ("stack", "0", "0, must be 1 to 64"),
        ("tail", "1048577", "1048577, must be at most 1048576 samples and at most 4096 frames"),
        ("tail", "393312", "393312, must be at most 1048576 samples and at most 4096 frames"),
        ("window_shape", "hann", "found \"hann\""),
        ("mel_scale", "bark", "expected \"htk\" or \"slaney\", found \"bark\""),
        ("mel_shape", "triangles", "found \"triangles\""),
        ("preemphasis", "0.97", "not supported with the other entries"),
        ("kind", &"x".repeat(10_000), "expected \"mel\" or \"spectrum\", found \"xxxx"),
    ] {
        let (key, found) = refusal(name, text);
        assert_eq!(key, format!("features.{name}"));
        assert!(found.contains(reason) && found.len() < 300, "{name} = {text}: {found}");
    }
    // What older files say about their bands must agree with the other entries.
    assert_eq!(refusal("mel_scale", "slaney").0, "features.mel_shape");
    // Bands are given for spectra, which have none.
    let (key, reason) = refusal("kind", "spectrum");
    assert_eq!(key, "features.mel_high_hz");
    assert!(reason.starts_with("not supported with"), "{reason}");
}

#[test]
fn an_entry_that_is_missing_is_named() {
    for name in ["sample_rate", "window", "hop", "fft", "mels", "mel_low_hz", "mel_high_hz", "log_floor"] {
        let mut entries = entries();
        let key = format!("features.{name}");
        entries.remove(&key);
        let expected = FileError::Header { key, reason: "missing".into() };
        assert_eq!(read(80, &entries).unwrap_err(), expected.into());
    }
}

#[test]
fn no_description_asks_for_time_or_memory_out_of_proportion() {
    let numbers = [
        "-1",
        "0",
        "1",
        "2",
        "3",
        "63",
        "64",
        "65",
        "1024",
        "4096",
        "32769",
        "65535",
        "65536",
        "131072",
        "1048576",
        "4294967295",
        "4294967296",
        "18446744073709551615",
        "1e-40",
        "1e-30",
        "0.5",
        "1e38",
        "1e308",
        "1e400",
        "-inf",
        "NaN",
    ];
    let names =
        ["sample_rate", "window", "hop", "fft", "mels", "mel_low_hz", "mel_high_hz", "log_floor", "stack", "tail"];
    let (mut accepted, mut state) = (0, 1u32);
    let mut below = |n: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % n
    };
    for _ in 0..1000 {
        let mut entries = entries();
        for _ in 0..1 + below(3) {
            entries.insert(format!("features.{}", names[below(names.len())]), numbers[below(numbers.len())].into());
        }
        // The width of the steps, which the model's input must match.
        let number = |name: &str| entries[&format!("features.{name}")].parse::<usize>().unwrap_or(0);
        let width = number("mels").saturating_mul(number("stack")).clamp(1, 1 << 18);
        match read(width, &entries) {
            Ok(features) => {
                let features = features.unwrap();
                let (fft, stack) = (features.stft.fft, features.stack);
                let mut front_end = FrontEnd::new(features).unwrap();
                let steps = front_end.whole(&[0.25; 3]).unwrap();
                assert!(steps.as_slice().iter().all(|value| value.is_finite()));
                // The samples that three samples can become in transforms, and the numbers that these become.
                assert!(steps.rows() * stack * fft <= 1 << 28, "{entries:?}");
                assert!(steps.rows() * steps.cols() <= 1 << 24, "{entries:?}");
                accepted += 1;
            }
            Err(Error::File(FileError::Header { key, .. })) => assert!(key.starts_with("features.")),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(accepted > 30, "{accepted}");
}

#[test]
fn parameters_are_refused_in_code_as_in_files() {
    for (window, hop, fft) in [(0, 1, 4), (5, 1, 4), (1, 0, 4), (1, 5, 4), (1, 1, 1), (1, 1, 65_537), (1, 1, 2048)] {
        let mut stft = Stft::new(window, hop);
        stft.fft = fft;
        assert!(matches!(stft.stream(), Err(Error::Parameter { .. })), "{window} {hop} {fft}");
        assert!(matches!(stft.frames(9), Err(Error::Parameter { .. })));
        assert!(matches!(FrontEnd::new(Features::spectra(8000, stft)), Err(Error::Parameter { .. })));
    }
    let mut features = Features::spectra(8000, Stft::new(65_536, 65_536));
    features.stack = 4;
    assert!(matches!(FrontEnd::new(features), Err(Error::Parameter { what: "stack", .. })));
}

#[test]
fn labels_that_make_no_sense_are_refused() {
    for (entries, key) in [
        (&[("alphabet", "ab")][..], "alphabet"),
        (&[("alphabet", "a"), ("blank", "2")], "blank"),
        (&[("alphabet", "a"), ("blank", "-1")], "blank"),
        (&[("alphabet", "a"), ("labels", "[\"\",\"a\"]")], "labels"),
        (&[("labels", "[\"\",\"a\",\"b\"]")], "labels"),
        (&[("labels", "[\"\",1]")], "labels"),
        (&[("labels", "[")], "labels"),
        (&[("labels", "[\"a\",\"b\"]"), ("blank", "18446744073709551615")], "blank"),
        (&[("labels", "[]")], "blank"),
    ] {
        let metadata = entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        match Labels::of_model(&model(3).with_attached(metadata, Default::default())) {
            Err(Error::File(FileError::Header { key: found, .. })) => assert_eq!(found, key, "{entries:?}"),
            other => panic!("{entries:?}: {other:?}"),
        }
    }
}
