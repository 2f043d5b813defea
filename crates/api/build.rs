//! Compiles the .proto files of the project with protox, so that no protoc is needed.

use std::{env, path::Path};

const FILES: [&str; 7] = [
    "puro/blob/v1/blob.proto",
    "puro/metadata/v1/directory.proto",
    "puro/metadata/v1/delivery.proto",
    "puro/metadata/v1/maildrop.proto",
    "puro/metadata/v1/admin.proto",
    "puro/metadata/v1/audit.proto",
    "puro/metadata/v1/transfer.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked when it runs: a build script that was built in another copy of the tree would look there.
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [&root])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
