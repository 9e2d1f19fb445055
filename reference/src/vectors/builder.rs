//! Makes model files: headers as text, tensors with random numbers.

use skinny_reference::quantize::{Format, Quantized};

use super::json::{floats, integers, object, text};
use super::random::Random;

/// The numbers of a tensor.
enum Numbers {
    F32(Vec<f32>),
    I8(Vec<i8>),
    U8(Vec<u8>),
}

/// The tensors of a model file, by name, as its header is written.
pub struct Builder {
    pub random: Random,
    tensors: Vec<(String, Vec<usize>, Numbers)>,
}

impl Builder {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), tensors: vec![] }
    }

    /// A vector, and the boolean that says that it is there.
    pub fn vector(&mut self, name: &str, len: usize, size: f32) -> &'static str {
        let values = self.random.floats(len, size);
        self.floats(name, &[len], values);
        "true"
    }

    /// A tensor of given floats.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        self.tensors.push((name.into(), shape.into(), Numbers::F32(values)));
    }

    /// The header of a matrix. Its products have about the size of its inputs.
    pub fn matrix(&mut self, name: &str, n: usize, k: usize, format: &str) -> String {
        let w = self.random.frames(n, k, 2.0 / (k as f32).sqrt());
        match Format::ALL.into_iter().find(|other| other.name() == format) {
            None => self.floats(name, &[n, k], w.concat()),
            Some(format) => self.quantized(name, &Quantized::new(&w, format)),
        }
        format!(r#"{{"n":{n},"k":{k},"format":"{format}"}}"#)
    }

    fn quantized(&mut self, name: &str, w: &Quantized) {
        let (n, k) = (w.values.len(), w.values[0].len());
        let mut push = |what: &str, columns: usize, numbers: Numbers| {
            self.tensors.push((format!("{name}.{what}"), vec![n, columns], numbers));
        };
        match w.format {
            Format::Int8 => push("values", k, Numbers::I8(w.values.concat())),
            Format::Int4 | Format::Int4Groups => push("nibbles", k.div_ceil(2), Numbers::U8(packed(&w.values, 4))),
            Format::Int2Groups => push("quarters", k.div_ceil(4), Numbers::U8(packed(&w.values, 2))),
        }
        let multipliers = w.multipliers.concat();
        match w.format {
            Format::Int8 | Format::Int4 => (),
            Format::Int4Groups => {
                push("multipliers", k.div_ceil(32), Numbers::U8(multipliers.iter().map(|&m| m as u8).collect()));
            }
            Format::Int2Groups => push("multipliers", k.div_ceil(64), Numbers::I8(multipliers)),
        }
        self.floats(&format!("{name}.scales"), &[n], w.scales.clone());
    }

    pub fn dense(&mut self, name: &str, n: usize, k: usize, format: &str) -> String {
        format!(r#"{{"dense":{}}}"#, self.matrix(name, n, k, format))
    }

    /// Two factors, which may be stored in different formats.
    pub fn low_rank(&mut self, name: &str, n: usize, k: usize, rank: usize, formats: [&str; 2]) -> String {
        let u = self.matrix(&format!("{name}.u"), n, rank, formats[0]);
        let v = self.matrix(&format!("{name}.v"), rank, k, formats[1]);
        format!(r#"{{"low_rank":{{"u":{u},"v":{v}}}}}"#)
    }

    /// A `linear` layer's entries.
    pub fn linear(&mut self, name: &str, weight: &str, bias: usize, activation: &str) -> String {
        let bias = if bias > 0 { self.vector(&format!("{name}.bias"), bias, 1.0) } else { "false" };
        format!(r#"{{"weight":{weight},"bias":{bias},"activation":{activation}}}"#)
    }

    /// Puts a wrong byte into a tensor.
    pub fn spoil(&mut self, name: &str, at: usize, byte: u8) {
        match self.numbers(name) {
            Numbers::I8(values) => values[at] = byte as i8,
            Numbers::U8(values) => values[at] = byte,
            Numbers::F32(_) => panic!("{name} has no bytes"),
        }
    }

    /// Puts a wrong float into a tensor.
    pub fn spoil_float(&mut self, name: &str, at: usize, value: f32) {
        match self.numbers(name) {
            Numbers::F32(values) => values[at] = value,
            _ => panic!("{name} has no floats"),
        }
    }

    fn numbers(&mut self, name: &str) -> &mut Numbers {
        let tensor = self.tensors.iter_mut().find(|(other, ..)| other == name);
        &mut tensor.unwrap_or_else(|| panic!("there is no tensor {name}")).2
    }

    /// The tensors as vectors have them.
    pub fn json(&self) -> String {
        let tensor = |(name, shape, numbers): &(String, Vec<usize>, Numbers)| {
            let (dtype, values) = match numbers {
                Numbers::F32(values) => ("F32", floats(values)),
                Numbers::I8(values) => ("I8", integers(values)),
                Numbers::U8(values) => ("U8", integers(values)),
            };
            (name.clone(), object(&[("dtype", text(dtype)), ("shape", integers(shape)), ("values", values)]))
        };
        object(&self.tensors.iter().map(tensor).collect::<Vec<_>>())
    }

    /// The model file with this header.
    pub fn file(&self, model: &str) -> Vec<u8> {
        let (mut entries, mut data) = (vec![], vec![]);
        entries.push(format!(r#""__metadata__":{{"skinny":"{}"}}"#, model.replace('"', "\\\"")));
        // Wider elements first, so that all are aligned.
        let wide =
            |wanted| self.tensors.iter().filter(move |(.., numbers)| matches!(numbers, Numbers::F32(_)) == wanted);
        for (name, shape, numbers) in wide(true).chain(wide(false)) {
            let (dtype, bytes) = match numbers {
                Numbers::F32(values) => ("F32", values.iter().flat_map(|value| value.to_le_bytes()).collect()),
                Numbers::I8(values) => ("I8", values.iter().map(|&value| value as u8).collect()),
                Numbers::U8(values) => ("U8", values.clone()),
            };
            let offsets = [data.len(), data.len() + bytes.len()];
            let [shape, offsets] = [integers(shape), integers(&offsets)];
            entries.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#));
            data.extend::<Vec<u8>>(bytes);
        }
        let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
    }
}

/// Numbers of `bits` bits, each row from the low end of a byte.
fn packed(rows: &[Vec<i8>], bits: usize) -> Vec<u8> {
    let mask = (1u8 << bits) - 1;
    let byte = |values: &[i8]| values.iter().enumerate().map(|(i, &q)| (q as u8 & mask) << (i * bits)).sum::<u8>();
    rows.iter().flat_map(|row| row.chunks(8 / bits).map(byte)).collect()
}
