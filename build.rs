//! Compiles `proto/` with protox, so that no `protoc` is needed: messages and services by prost and tonic, their JSON
//! mapping by pbjson, and the descriptor set that gRPC reflection serves.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 5] = [
    "consent/v1/types.proto",
    "consent/v1/catalogue.proto",
    "consent/v1/ledger.proto",
    "consent/v1/enforcement.proto",
    "consent/v1/evidence.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    let encoded = descriptors.encode_to_vec();
    std::fs::write(out.join("consent.v1.descriptors.bin"), &encoded)?;

    let mut config = prost_build::Config::new();
    config.extern_path(".google.protobuf", "::pbjson_types");
    tonic_prost_build::configure().compile_well_known_types(true).compile_fds_with_config(descriptors, config)?;
    pbjson_build::Builder::new().register_descriptors(&encoded)?.build(&[".consent.v1"])?;
    Ok(())
}
