//! Compiles what is spoken with storage systems with protox, so that no protoc is needed.

const SEAWEEDFS: [&str; 2] = ["seaweedfs/master.proto", "seaweedfs/volume_server.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let client = tonic_prost_build::configure().build_server(false).build_transport(false);
    client.compile_fds(protox::compile(SEAWEEDFS, ["proto"])?)?;
    Ok(())
}
