//! The test vectors of `reference/vectors/`, which another implementation computed from the documents alone, come out to the bit on
//! every tier. They are not in the published package, so neither is this test.

#[path = "vectors/floats.rs"]
mod floats;
#[path = "vectors/json.rs"]
mod json;
#[cfg(feature = "safetensors")]
#[path = "vectors/layers.rs"]
mod layers;
#[path = "vectors/products.rs"]
mod products;
