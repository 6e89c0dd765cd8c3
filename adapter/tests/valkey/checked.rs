//! The check, against the adapter as a program before a real cluster.

use super::clients::Clients;
use super::running::Running;
use super::steps::BUCKET;
use isotherm_adapter::check::{Finding, Options};
use isotherm_tests::stores::valkey::Lab;
use isotherm_tests::stores::valkey::client::fill;

#[test]
fn the_adapter_keeps_the_contract_killed_in_every_phase_under_clients() {
    let lab = Lab::start().unwrap();
    let seeds: Vec<_> = lab.nodes.iter().map(|node| node.address).collect();
    fill(&seeds, 2_000, 300).unwrap();
    let clients = Clients::start(&seeds, 2);
    let addresses: Vec<String> = seeds.iter().map(ToString::to_string).collect();
    let table = format!(
        "nodes = {addresses:?}\nuser = {:?}\npassword_file = {:?}",
        isotherm_tests::stores::valkey::USER,
        lab.password_file()
    );
    let running = Running::start("valkey", &table);
    let report = running.check(Options { partition: Some(BUCKET.to_owned()), ..Options::default() });
    assert!(report.is_good(), "{report}\n{}", running.log());
    let skipped = report.checks.iter().filter(|checked| matches!(checked.finding, Finding::Skipped(_)));
    let skipped: Vec<&str> = skipped.map(|checked| checked.check).collect();
    // The engine switches: there is no fence, and no switch to ask a warrant for; it makes its replicas itself, and has
    // no throttle.
    assert_eq!(skipped, ["warrant", "fence", "abort of a copy", "repair"], "{report}");
    println!("{report}");
    let history = clients.end(&seeds).unwrap();
    assert_eq!((history.errors, history.stale), (0, 0), "of {} operations", history.operations);
}
