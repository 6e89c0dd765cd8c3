//! Where the sources and the build output lie.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the root `Cargo.toml`.
///
/// Cargo tells the folder of the running package, which is right even where several clones share one
/// target folder; a binary that is started by hand uses the folder it was built in.
#[must_use]
pub fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().map(Path::to_path_buf).unwrap_or(package)
}

/// The folder of build output: `$CARGO_TARGET_DIR`, else `target` beside the sources.
#[must_use]
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => std::path::absolute(&dir).unwrap_or_else(|_| PathBuf::from(dir)),
        None => root().join("target"),
    }
}

/// A program of the workspace as it was last built.
///
/// Tests and the demo take the programs that lie beside them, so that a release build is demonstrated by a
/// release build.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let beside = env::current_exe().ok().and_then(|exe| {
        let folder = exe.parent()?;
        // Test binaries lie in `deps`, programs one folder above.
        Some(if folder.ends_with("deps") { folder.parent()? } else { folder }.to_path_buf())
    });
    beside.unwrap_or_else(|| target_dir().join("debug")).join(name)
}
