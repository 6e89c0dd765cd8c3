//! Compiles the contracts with protox, so that no protoc is needed.

use std::{env, fs, path::PathBuf};

const CONTRACTS: [&str; 3] = [
    "isotherm/telemetry/v1/telemetry.proto",
    "isotherm/control/v1/control.proto",
    "isotherm/control/v1/risk.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=isotherm");
    let descriptors = protox::compile(CONTRACTS, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), protox::prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().build_transport(true).compile_fds(descriptors)?;
    Ok(())
}
