//! The client's code, from the protocol as it is published.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protocol = "../../../proto";
    println!("cargo::rerun-if-changed={protocol}");
    let files = protox::compile(["consent/v1/enforcement.proto"], [protocol])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
