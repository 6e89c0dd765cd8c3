//! Who may talk to the analyzer: certificates of both ends, and errors that say what is wrong with them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_tests::process::wait_for;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::analyzer::{Analyzer, LIMIT, program, run, serve_on};
use support::scene::{Watch, folder};

/// PEM files in a folder.
struct Files {
    dir: PathBuf,
}

impl Files {
    /// An authority, and certificates of it for the analyzer and a client; another authority with a client.
    fn make(dir: &Path) -> Self {
        let files = Self { dir: dir.to_owned() };
        for (authority, names) in [("ca", &["server", "client"][..]), ("other", &["stranger"][..])] {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, authority);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            fs::write(files.path(&format!("{authority}.pem")), issuer.pem()).unwrap();
            for name in names {
                let key = KeyPair::generate().unwrap();
                let subject = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
                let cert = CertificateParams::new(subject).unwrap().signed_by(&key, &issuer).unwrap();
                fs::write(files.path(&format!("{name}.pem")), cert.pem()).unwrap();
                fs::write(files.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
            }
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `isotherm serve` with these files.
    fn serve(&self, listen: &str, data: &Path, [cert, key, client_ca]: [&str; 3]) -> Command {
        let mut command = serve_on(listen, data).unwrap();
        command.arg("--tls-cert").arg(self.path(cert)).arg("--tls-key").arg(self.path(key));
        command.arg("--tls-client-ca").arg(self.path(client_ca));
        command
    }

    /// A question over an encrypted connection, with these options.
    fn ask(&self, analyzer: &Analyzer, options: &[(&str, &str)]) -> Output {
        let url = analyzer.url.replace("http://", "https://");
        let mut command = Command::new(program().unwrap());
        command.args(["get", "partitions", "-o", "json", "--server", &url]);
        for (option, file) in options {
            command.arg(option).arg(self.path(file));
        }
        command.output().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SERVER: [&str; 3] = ["server.pem", "server.key", "ca.pem"];

const CLIENT: [(&str, &str); 3] = [("--ca", "ca.pem"), ("--cert", "client.pem"), ("--key", "client.key")];

#[test]
fn only_a_client_of_the_authority_gets_in_and_both_sides_say_why_not() {
    let scratch = tempfile::tempdir().unwrap();
    let files = Files::make(scratch.path());
    // With certificates, other addresses than this host's own need no further word.
    let command = files.serve("0.0.0.0:0", &scratch.path().join("data"), SERVER);
    let mut analyzer = Analyzer::from_command(command, scratch.path()).unwrap();
    analyzer.url = analyzer.url.replace("0.0.0.0", "127.0.0.1");

    let output = files.ask(&analyzer, &CLIENT);
    assert!(output.status.success(), "{}", stderr(&output));

    let says = |options: &[(&str, &str)], want: &str| {
        let output = files.ask(&analyzer, options);
        assert_eq!(output.status.code(), Some(8), "{output:?}");
        assert!(stderr(&output).contains(want), "{want:?} is not in {}", stderr(&output));
    };
    says(&[("--ca", "ca.pem")], "CertificateRequired");
    says(&[("--ca", "ca.pem"), ("--cert", "stranger.pem"), ("--key", "stranger.key")], "UnknownCA");
    says(&[("--ca", "other.pem"), ("--cert", "client.pem"), ("--key", "client.key")], "UnknownIssuer");
    let output = run(&["get", "nodes", "--server", &analyzer.url]).unwrap();
    assert_eq!(output.status.code(), Some(8), "an unencrypted question is not answered: {output:?}");

    let log = scratch.path().join("analyzer.log");
    for why in ["peer sent no certificates", "invalid peer certificate: UnknownIssuer", "InvalidContentType"]
    {
        wait_for(why, LIMIT, || {
            let log = fs::read_to_string(&log)?;
            let told = log.lines().any(|line| {
                line.contains("refused a connection") && line.contains(why) && line.contains("127.0.0.1")
            });
            Ok(told.then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", fs::read_to_string(&log).unwrap()));
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let files = Files::make(scratch.path());
    fs::write(files.path("empty.pem"), "nothing\n").unwrap();
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(files.path("damaged.pem"), damaged).unwrap();
    let data = scratch.path().join("data");
    for (cert, key, ca, want) in [
        ("none.pem", "server.key", "ca.pem", format!("cannot read {}", files.text("none.pem"))),
        ("empty.pem", "server.key", "ca.pem", format!("{} holds no certificate", files.text("empty.pem"))),
        ("server.pem", "ca.pem", "ca.pem", format!("{} holds no private key", files.text("ca.pem"))),
        (
            "server.pem",
            "client.key",
            "ca.pem",
            format!(
                "{} is not the key of the certificate in {}",
                files.text("client.key"),
                files.text("server.pem")
            ),
        ),
        ("server.pem", "server.key", "damaged.pem", format!("{}: ", files.text("damaged.pem"))),
    ] {
        let output = files.serve("127.0.0.1:0", &data, [cert, key, ca]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains(&want), "{want:?} is not in {}", stderr(&output));
    }
    let client = ["get", "nodes", "--server", "https://127.0.0.1:1", "--ca", &files.text("none.pem")];
    let output = run(&client).unwrap();
    assert!(stderr(&output).contains(&format!("cannot read {}", files.text("none.pem"))), "{output:?}");
    let output = run(&["get", "nodes", "--server", "http://127.0.0.1:1", "--ca", "x"]).unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("is not encrypted; certificates need https://"), "{output:?}");
    let output = serve_on("0.0.0.0:0", &data).unwrap().output().unwrap();
    assert!(stderr(&output).contains("give it some in [listen.tls]"), "{output:?}");
}

#[test]
fn an_agent_delivers_over_an_encrypted_connection_and_says_why_it_cannot() {
    let Some(folder) = folder("an_agent_delivers_over_an_encrypted_connection_and_says_why_it_cannot") else {
        return;
    };
    let files = Files::make(folder.path());
    let command = files.serve("127.0.0.1:0", &folder.path().join("data"), SERVER);
    let analyzer = Analyzer::from_command(command, folder.path()).unwrap();
    let endpoint = analyzer.url.replace("http://", "https://");
    let replace_by = |name: &str| {
        for ending in ["pem", "key"] {
            fs::copy(files.path(&format!("{name}.{ending}")), files.path(&format!("agent.{ending}")))
                .unwrap();
        }
    };
    replace_by("client");
    let [ca, cert, key] = ["ca.pem", "agent.pem", "agent.key"].map(|name| files.text(name));
    let lines = format!("ca = \"{ca}\"\ncert = \"{cert}\"\nkey = \"{key}\"\n");
    let mut watch = Watch::prepare(folder, &endpoint, &lines);
    let command = watch.command();
    let mut agent = watch.start(command);
    watch.go();
    agent.until("some windows", |running| running.cut().len() >= 5);
    let truth = watch.end();
    agent.stop();
    let answer = files.ask(&analyzer, &CLIENT);
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["partitions"][0]["nodes"][0]["reads"].as_u64(), Some(truth), "{answer}");

    replace_by("stranger");
    let command = watch.command();
    let mut agent = watch.start(command);
    agent.until_says("alert");
    let refused = agent.log().lines().find(|line| line.contains("alert")).unwrap().to_owned();
    assert!(refused.contains("batches are kept"), "{refused}");
    // Files are read for each connection, so that renewed ones are used.
    replace_by("client");
    agent.until_says("connected to https://");
    agent.stop();
    fs::copy(files.path("server.pem"), files.path("agent.pem")).unwrap();
    let output = watch.command().output().unwrap();
    assert!(stderr(&output).contains("is not the key of the certificate in"), "{output:?}");
}
