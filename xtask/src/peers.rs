//! What forecasts are measured and compared with: Python's statsforecast and statsmodels, R's forecast.
//!
//! Installed by the two commands that use them, in an environment of their own: they are large, and no test
//! needs them. What cannot be installed is skipped, and said to be.

use crate::setup::{self, can_install_debian, install_debian, install_wheels, python_of};
use crate::shell;
use anyhow::{Context, Result, bail};
use isotherm_tests::process::die_with;
use isotherm_tests::tools::Tools;
use nix::unistd::getpid;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;

/// The peers written in Python, at the versions that were measured before.
pub(crate) const WHEELS: [&str; 2] = ["statsforecast==2.1.1", "statsmodels==0.15.0"];

/// R and its peer, as Debian has them.
const R_PACKAGES: [&str; 3] = ["r-base-core", "r-cran-forecast", "r-cran-jsonlite"];

/// The interpreters that there are.
pub(crate) struct Peers {
    python: Option<PathBuf>,
    rscript: Option<PathBuf>,
}

/// The environment of the wheels.
pub(crate) fn venv(tools: &Tools) -> PathBuf {
    tools.root().join("peers")
}

/// Whether R is there, with the packages.
pub(crate) fn r_can_forecast() -> bool {
    const ASK: &str = "find.package(c('forecast', 'jsonlite'))";
    shell::find("Rscript")
        .is_some_and(|r| shell::read(shell::clean(r).args(["--vanilla", "-e", ASK])).is_ok())
}

/// How to get R.
pub(crate) fn r_remedy() -> String {
    format!("apt-get install {}", R_PACKAGES.join(" "))
}

impl Peers {
    /// Installs what is missing and can be.
    pub(crate) fn install() -> Result<Self> {
        let tools = Tools::locate();
        let _lock = setup::lock(&tools)?;
        let venv = venv(&tools);
        let python = install_wheels(&venv, &WHEELS).map(|()| python_of(&venv));
        let python = python.inspect_err(|error| eprintln!("SKIPPED: Python's peers: {error:#}")).ok();
        let rscript = rscript().inspect_err(|error| eprintln!("SKIPPED: R: {error:#}")).ok();
        Ok(Self { python, rscript })
    }

    /// Whether there are none.
    pub(crate) fn none(&self) -> bool {
        self.python.is_none() && self.rscript.is_none()
    }

    /// Runs a benchmark of the forecast crate, which starts the peers itself, and gives what it prints.
    /// Neither outlives us.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, task: &str, arguments: &[S]) -> Result<Vec<u8>> {
        let mut cargo = shell::cargo();
        cargo.args(["bench", "--quiet", "--package", "isotherm-forecast", "--bench", "peers", "--", task]);
        cargo.args(arguments);
        for (flag, interpreter) in [("--python", &self.python), ("--rscript", &self.rscript)] {
            cargo.args(interpreter.iter().flat_map(|path| [OsStr::new(flag), path.as_os_str()]));
        }
        let us = getpid();
        // SAFETY: the closure runs between fork and exec, and makes nothing but two system calls.
        unsafe { cargo.pre_exec(move || die_with(us)) };
        let output =
            cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("start cargo bench")?;
        if !output.status.success() {
            bail!("the benchmark failed: {}", output.status);
        }
        Ok(output.stdout)
    }
}

fn rscript() -> Result<PathBuf> {
    if !r_can_forecast() {
        if !can_install_debian() {
            bail!("please install it ({}); only root can, and only where apt is", r_remedy());
        }
        install_debian(&R_PACKAGES)?;
    }
    shell::find("Rscript").context("no Rscript in PATH")
}
