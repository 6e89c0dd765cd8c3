//! The contract, as the check of adapters knows it, kept by the program itself over killed adapters.

use super::lab::{Lab, PARTITION};
use super::steps::{config, node};
use isotherm_adapter::check::{Options, check};
use isotherm_tests::process::POLL;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The adapter's process, ended with the test.
struct Program {
    id: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        let id = fs::read_to_string(&self.id).ok().and_then(|id| id.trim().parse().ok());
        if let Some(id) = id {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// A shell command that kills the adapter, if it runs, and starts it.
fn restart(folder: &Path, config: &Path) -> String {
    let (id, log, config) = (folder.join("id"), folder.join("log"), config.display());
    let (id, log, program) = (id.display(), log.display(), env!("CARGO_BIN_EXE_isotherm-adapter"));
    format!(
        "test -e {id} && kill -9 $(cat {id}); \
         {program} postgres --config {config} >> {log} 2>&1 < /dev/null & echo $! > {id}"
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than six minutes; `--ignored` runs it"]
async fn the_contract_is_kept() {
    let lab = Lab::start().await.unwrap();
    lab.rows(20_000).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = folder.path().join("adapter.toml");
    let text = config(&lab, &folder.path().join("data")).replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    fs::write(&file, text).unwrap();
    let _program = Program { id: folder.path().join("id") };
    let command = restart(folder.path(), &file);
    assert!(std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success());
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(POLL).await;
    }
    let options = Options {
        partition: Some(PARTITION.to_owned()),
        target: Some(node(&lab, super::lab::B).name().to_owned()),
        restart: Some(command),
        tls: None,
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let checked = check(&endpoint, options);
    let report = tokio::time::timeout(Duration::from_secs(600), checked).await.unwrap().unwrap();
    println!("{report}");
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(report.is_good(), "{report}\n{log}");
    assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
}
