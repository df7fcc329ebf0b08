//! Compiles `proto/` with protox, so that no `protoc` is needed: messages and services by prost and tonic, their JSON
//! mapping by pbjson, and the descriptor set that gRPC reflection serves.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message as _;

/// The service's own contract.
const OWN: [&str; 5] = [
    "consent/v1/types.proto",
    "consent/v1/catalogue.proto",
    "consent/v1/ledger.proto",
    "consent/v1/enforcement.proto",
    "consent/v1/evidence.proto",
];
/// What Envoy asks; with it comes all that it imports.
const ENVOY: [&str; 1] = ["envoy/service/auth/v3/external_auth.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    compile_own(&out)?;
    // Not reflected: the contract is Envoy's, and who asks about ours must not be shown a trimmed copy of another's.
    let mut config = config();
    config.include_file("envoy.rs");
    // The server is written by hand: it answers where a generated one ends with an error.
    let envoy = tonic_prost_build::configure().compile_well_known_types(true).build_server(false);
    envoy.compile_fds_with_config(protox::compile(ENVOY, ["proto"])?, config)?;
    Ok(())
}

fn compile_own(out: &Path) -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(OWN, ["proto"])?;
    let encoded = descriptors.encode_to_vec();
    std::fs::write(out.join("consent.v1.descriptors.bin"), &encoded)?;
    tonic_prost_build::configure().compile_well_known_types(true).compile_fds_with_config(descriptors, config())?;
    pbjson_build::Builder::new().register_descriptors(&encoded)?.build(&[".consent.v1"])?;
    Ok(())
}

fn config() -> prost_build::Config {
    let mut config = prost_build::Config::new();
    config.extern_path(".google.protobuf", "::pbjson_types");
    config
}
