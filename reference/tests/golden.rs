//! The golden files of the library are read, and their outputs come out to the bit.

use std::path::Path;

use skinny_reference::file::read;
use skinny_reference::layer::Frames;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap()
}

fn check(name: &str, inputs: &[&str], outputs: &[&str]) {
    let model = read(&golden(name)).unwrap();
    let frames = |name: &&str| -> Frames {
        let (shape, values) = &model.attachments[*name];
        values.chunks(shape[1]).map(<[f32]>::to_vec).collect()
    };
    let inputs: Vec<Frames> = inputs.iter().map(frames).collect();
    let found = model.run(&inputs, &mut model.start()).unwrap();
    let bits =
        |frames: &Frames| -> Vec<Vec<u32>> { frames.iter().map(|x| x.iter().map(|x| x.to_bits()).collect()).collect() };
    for (found, expected) in found.iter().zip(outputs.iter().map(frames)) {
        assert_eq!(bits(found), bits(&expected), "{name}");
    }
}

#[test]
fn the_outputs_are_those_in_the_files() {
    for name in ["f32", "int8", "int4", "int4_groups", "int2"] {
        check(name, &["x"], &["y"]);
    }
    check("graph", &["in.x", "in.gain"], &["out.scores", "out.sum"]);
    check("operations", &["in.token", "in.sound"], &["out.all", "out.end"]);
}

#[test]
fn the_others_are_read() {
    for name in ["before", "bigru", "bilstm", "conv", "gru", "lstm", "projected", "stacked"] {
        read(&golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
