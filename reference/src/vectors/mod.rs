//! The test vectors: which files there are, and what is in them.

mod builder;
mod files;
mod floats;
mod integers;
mod json;
mod layers;
mod random;

/// All files of `reference/vectors/`, with their names.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let (model, stream) = layers::stream();
    let text = |text: String| text.into_bytes();
    vec![
        ("rounding.json", text(integers::rounding())),
        ("products.json", text(integers::products())),
        ("unsigned.json", text(integers::unsigned_products())),
        ("weights.json", text(floats::weights())),
        ("activations.json", text(floats::activations())),
        ("functions.json", text(floats::functions())),
        ("layers.json", text(layers::layers())),
        ("files.json", text(files::files())),
        ("model.safetensors", model),
        ("stream.json", text(stream)),
    ]
}
