use super::*;
use std::net::TcpListener;
use std::path::PathBuf;

fn regex(pattern: &str) -> Option<Regex> {
    Some(Regex::new(pattern).unwrap())
}

fn myself() -> (u32, usize) {
    (std::process::id(), 0)
}

#[test]
fn every_kind_of_selector_finds_this_process() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let exe = std::env::current_exe().unwrap();
    let candidates = candidates().unwrap();
    for selector in [
        Selector { pid: Some(std::process::id()), ..Selector::default() },
        Selector {
            exe: regex(&format!("^{}$", regex::escape(&exe.to_string_lossy()))),
            ..Selector::default()
        },
        Selector { listen: Some(listener.local_addr().unwrap()), ..Selector::default() },
    ] {
        let found = select(&candidates, &[&selector]).processes;
        assert!(found.contains(&myself()), "{selector:?}: {found:?}");
    }
}

#[test]
fn a_listener_at_every_address_serves_each_address_unless_taken() {
    let any = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = any.local_addr().unwrap().port();
    let wanted = SocketAddr::from(([127, 0, 0, 9], port));
    let selector = Selector { listen: Some(wanted), ..Selector::default() };
    assert!(select(&candidates().unwrap(), &[&selector]).processes.contains(&myself()));
    let other = Selector { listen: Some(SocketAddr::from(([127, 0, 0, 9], 1))), ..Selector::default() };
    assert_eq!(select(&candidates().unwrap(), &[&other]), Selection::default());
}

#[test]
fn children_that_were_there_before_belong_to_their_parent() {
    let process = |pid, parent| Candidate {
        pid,
        exe: PathBuf::new(),
        cmdline: String::new(),
        cgroups: Vec::new(),
        parent,
        namespace: 0,
        image: process::Image::default(),
    };
    let candidates = [process(30, 20), process(20, 10), process(10, 1), process(40, 1), process(50, 20)];
    let all = with_children(&candidates, BTreeMap::from([(10, 0), (50, 1)]));
    assert_eq!(all, BTreeMap::from([(10, 0), (20, 0), (30, 0), (50, 1)]));
}

#[test]
fn all_parts_must_hold_and_the_first_selector_wins() {
    let pid = Some(std::process::id());
    let nothing = Selector { pid, cmdline: regex("no such argument anywhere"), ..Selector::default() };
    let first = Selector { pid, ..Selector::default() };
    let selection = select(&candidates().unwrap(), &[&nothing, &first, &first]);
    assert_eq!(selection.processes, [(std::process::id(), 1)]);
    assert_eq!(selection.conflicts, [(std::process::id(), 1, 2)]);
}

#[test]
fn a_control_group_and_a_unit_are_parts_like_the_others() {
    let mut me = candidates().unwrap().into_iter().find(|process| process.pid == std::process::id()).unwrap();
    me.cgroups = vec!["/system.slice/weed-volume@1.service".to_owned(), "/".to_owned()];
    let selects = |selector: Selector| select(std::slice::from_ref(&me), &[&selector]).processes.len();
    let unit = |name| Selector { unit: Some(UnitName::new(name).unwrap()), ..Selector::default() };
    let cgroup = |pattern| Selector { cgroup: regex(pattern), ..Selector::default() };
    assert_eq!((selects(unit("weed-volume@1")), selects(unit("weed-volume@2"))), (1, 0));
    assert_eq!((selects(cgroup(r"weed-volume@\d\.service$")), selects(cgroup("nats"))), (1, 0));
    assert_eq!(selects(Selector { pid: Some(me.pid), ..unit("weed-volume@2") }), 0);
    let parts: Vec<String> = unit("weed").parts().map(|part| format!("{} = {part}", part.key())).collect();
    assert_eq!(parts, ["unit = weed.service"]);
    assert!(unit("weed").same_as(&unit("weed.service")) && !unit("weed").same_as(&unit("nats")));
}
