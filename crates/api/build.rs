//! Generates Rust code from `proto/reclaim/v1`, without protoc.

use std::path::Path;
use std::{env, fs};

use prost::Message;

const ROOT: &str = "proto";
const FILES: [&str; 4] = [
    "reclaim/v1/types.proto",
    "reclaim/v1/prune.proto",
    "reclaim/v1/containers.proto",
    "reclaim/v1/maintenance.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    let descriptors = protox::compile(FILES, [ROOT])?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the variable that cargo sets for build scripts"
    )]
    let out = env::var("OUT_DIR")?;
    let path = Path::new(&out).join("reclaim.v1.bin");
    fs::write(path, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        // Its own form leaves out the password.
        .skip_debug(["reclaim.v1.RegistryCredentials"])
        .compile_fds(descriptors)?;
    Ok(())
}
