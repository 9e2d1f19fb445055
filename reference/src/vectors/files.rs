//! Vectors of model files: one that is right, and the same with one thing changed.

use skinny_reference::file::read;

use super::builder::Builder;
use super::json::{file, object, text};

/// A model with much that can be wrong.
fn whole() -> (String, Builder) {
    let mut b = Builder::new(2000);
    let conv = b.dense("conv.weight", 4, 9, "int4");
    let conv = b.linear("conv", &conv, 4, r#""relu""#);
    b.matrix("emb.weight", 5, 4, "int8");
    let [ih, hh] = ["ih", "hh"].map(|name| {
        b.dense(&format!("gru.weight_{name}"), 9, [4, 3][usize::from(name == "hh")], "int4 in groups of 32")
    });
    b.vector("gru.bias_ih", 9, 1.0);
    b.vector("norm.weight", 3, 1.0);
    let fc = b.low_rank("fc.weight", 5, 3, 2, ["f32", "int2 in groups of 64"]);
    let fc = b.linear("fc", &fc, 5, r#"{"clipped_relu":2.5}"#);
    let layers = [
        format!(
            r#"{{"name":"conv","reads":["x"],"layer":{{"time_convolution":{{"linear":{conv},"kernel":3,"stride":1,"padding":2,"padding_after":0,"dilation":1}}}}}}"#
        ),
        r#"{"name":"emb","reads":["token"],"layer":{"embedding":{"n":5,"k":4,"format":"int8"}}}"#.into(),
        r#"{"name":"sum","reads":["conv","emb"],"join":"add"}"#.into(),
        format!(
            r#"{{"name":"gru","layer":{{"gru":{{"weights":{{"apart":{{"weight_ih":{ih},"weight_hh":{hh}}}}},"weight_hh_n":null,"bias_ih":true,"bias_hh":false}}}}}}"#
        ),
        r#"{"name":"norm","layer":{"layer_norm":{"features":3,"weight":true,"bias":false,"epsilon":0.5}}}"#.into(),
        format!(r#"{{"name":"fc","layer":{{"linear":{fc}}}}}"#),
        r#"{"name":"part","layer":{"slice":{"features":5,"start":1,"end":4}}}"#.into(),
    ];
    let header = format!(
        r#"{{"version":"2","inputs":[{{"name":"x","features":3}},{{"name":"token","features":1}}],"layers":[{}],"outputs":[{{"name":"scores","value":"part"}},{{"name":"hidden","value":"gru"}}],"attachments":[],"metadata":{{"made":"here"}}}}"#,
        layers.join(",")
    );
    (header, b)
}

/// What is replaced in the header, and whether the file can still be read.
const CHANGES: [(&str, &str, bool); 62] = [
    (r#""made""#, r#""made""#, true),
    (r#""weight_hh_n":null,"#, "", true),
    (r#""attachments":[],"#, "", true),
    (r#","metadata":{"made":"here"}"#, "", true),
    (r#""padding":2,"padding_after":0"#, r#""padding":1"#, true),
    (r#""padding":2,"padding_after":0"#, r#""padding":2"#, false),
    (r#","dilation":1"#, "", true),
    (r#""padding":2,"padding_after":0,"dilation":1"#, r#""padding":4,"padding_after":0,"dilation":2"#, true),
    (r#""dilation":1"#, r#""dilation":4"#, false),
    (r#""epsilon":0.5"#, r#""epsilon":1"#, true),
    (r#""epsilon":0.5"#, r#""epsilon":1e-45"#, true),
    (r#"{"clipped_relu":2.5}"#, r#""identity""#, true),
    (r#""value":"gru""#, r#""value":"x""#, true),
    (r#""join":"add""#, r#""join":"multiply""#, true),
    (r#""start":1,"end":4"#, r#""start":0,"end":5"#, true),
    (r#""version":"2""#, r#""version":"1""#, false),
    (r#""version":"2""#, r#""version":"3""#, false),
    (r#""version":"2""#, r#""version":2"#, false),
    (r#""version":"2""#, r#""version":"2","more":0"#, false),
    (r#""made":"here""#, r#""made":1"#, false),
    (r#""attachments":[]"#, r#""attachments":["none"]"#, false),
    (r#""attachments":[]"#, r#""attachments":["fc.bias"]"#, false),
    (r#""name":"x","features":3"#, r#""name":"x","features":0"#, false),
    (r#""name":"x","features":3"#, r#""name":"x","features":4"#, false),
    (r#""name":"x","features":3"#, r#""name":"x","features":3,"type":"F32""#, false),
    (r#""name":"token""#, r#""name":"x""#, false),
    (r#""name":"emb""#, r#""name":"conv""#, false),
    (r#""reads":["x"]"#, r#""reads":["y"]"#, false),
    (r#""reads":["x"]"#, r#""reads":["gru"]"#, false),
    (r#""reads":["x"]"#, r#""reads":["x","x"]"#, false),
    (r#""reads":["x"]"#, r#""reads":[]"#, false),
    (r#""reads":["x"]"#, r#""reads":null"#, false),
    (r#""reads":["conv","emb"]"#, r#""reads":["conv"]"#, false),
    (r#""reads":["conv","emb"]"#, r#""reads":["conv","x"]"#, false),
    (r#""reads":["conv","emb"]"#, r#""reads":["conv","token"]"#, false),
    (r#""join":"add""#, r#""join":"subtract""#, false),
    (r#""join":"add""#, r#""join":"concat""#, false),
    (r#""join":"add""#, r#""join":"add","layer":{"slice":{"features":4,"start":0,"end":4}}"#, false),
    (r#"{"name":"hidden","value":"gru"}"#, r#"{"name":"hidden","value":"none"}"#, false),
    (r#""name":"hidden""#, r#""name":"scores""#, false),
    (r#""value":"part""#, r#""value":"gru""#, false),
    (r#""kernel":3"#, r#""kernel":0"#, false),
    (r#""kernel":3"#, r#""kernel":2"#, false),
    (r#""stride":1"#, r#""stride":0"#, false),
    (r#""stride":1"#, r#""stride":2"#, false),
    (r#""padding":2"#, r#""padding":3"#, false),
    (r#""padding":2"#, r#""padding":-1"#, false),
    (r#""padding_after":0"#, r#""padding_after":3"#, false),
    (r#""padding_after":0"#, r#""padding_after":null"#, false),
    (r#""dilation":1"#, r#""dilation":0"#, false),
    (r#""padding":2,"padding_after":0,"dilation":1"#, r#""padding":3,"padding_after":2,"dilation":2"#, false),
    (r#""n":5,"k":4,"format":"int8""#, r#""n":5,"k":4,"format":"int4""#, false),
    (r#""n":5,"k":4,"format":"int8""#, r#""n":4,"k":4,"format":"int8""#, false),
    (r#""weight_hh_n":null"#, r#""weight_hr":null"#, false),
    (r#""bias_hh":false"#, r#""bias_hh":true"#, false),
    (r#""bias_ih":true"#, r#""bias_ih":false"#, false),
    (r#""epsilon":0.5"#, r#""epsilon":0"#, false),
    (r#""epsilon":0.5"#, r#""epsilon":1e-50"#, false),
    (r#"{"clipped_relu":2.5}"#, r#"{"clipped_relu":-1}"#, false),
    (r#"{"clipped_relu":2.5}"#, r#"{"clipped_relu":1e39}"#, false),
    (r#""start":1,"end":4"#, r#""start":4,"end":4"#, false),
    (r#""start":1,"end":4"#, r#""start":1,"end":6"#, false),
];

/// What is wrong in a tensor: the tensor, where, and the byte.
const BYTES: [(&str, usize, u8); 6] = [
    // -8, in either half of a byte, and something behind the last of 9 columns.
    ("conv.weight.nibbles", 0, 0x08),
    ("conv.weight.nibbles", 1, 0x80),
    ("conv.weight.nibbles", 4, 0x10),
    ("gru.weight_ih.multipliers", 0, 128),
    ("fc.weight.v.quarters", 0, 0x40),
    ("fc.weight.v.multipliers", 1, 64),
];

const FLOATS: [(&str, usize, f32); 7] = [
    ("conv.weight.scales", 0, 0.0),
    ("conv.weight.scales", 3, -1.0),
    ("emb.weight.scales", 1, f32::INFINITY),
    ("fc.weight.u", 2, f32::NAN),
    ("fc.weight.u", 9, f32::NEG_INFINITY),
    ("gru.bias_ih", 8, f32::NAN),
    ("norm.weight", 0, f32::INFINITY),
];

pub fn files() -> String {
    let mut cases = vec![];
    let mut case = |name: &str, header: &str, builder: &Builder, is_read: bool| {
        let result = read(&builder.file(header));
        assert_eq!(result.is_ok(), is_read, "{name}: {:?}", result.err());
        cases.push(object(&[
            ("name", text(name)),
            ("model", header.to_string()),
            ("tensors", builder.json()),
            ("is_read", is_read.to_string()),
        ]));
    };
    let (header, builder) = whole();
    for (from, to, is_read) in CHANGES {
        assert!(header.contains(from), "{from}");
        let name = format!("{from} becomes {to}").replace('"', "'");
        case(&name, &header.replacen(from, to, 1), &builder, is_read);
    }
    for (tensor, at, byte) in BYTES {
        let (header, mut builder) = whole();
        builder.spoil(tensor, at, byte);
        case(&format!("{tensor}, byte {at} becomes {byte}"), &header, &builder, false);
    }
    for (tensor, at, value) in FLOATS {
        let (header, mut builder) = whole();
        builder.spoil_float(tensor, at, value);
        case(&format!("{tensor}, element {at} becomes {value}"), &header, &builder, false);
    }
    file("Model files, and whether they are read: whatever is refused has one thing wrong.", &cases)
}
