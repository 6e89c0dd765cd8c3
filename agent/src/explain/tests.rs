use super::*;
use crate::rule::{DeviceRule, Rule};
use std::net::TcpListener;

fn config(select: &str) -> Config {
    let text = format!(
        "[[target]]\nsystem = \"s\"\nnode = \"n\"\nselect = {{ {select} }}\n\
         [[target.rule]]\npath = '/(?P<volume>[0-9]+)\\.dat$'\npartition = \"v$volume\"\n\
         [[target]]\nsystem = \"s\"\nnode = \"none\"\nselect = {{ exe = \"^/nowhere$\", unit = \"weed\" }}\n"
    );
    Config::parse(Path::new("agent.toml"), &text).unwrap()
}

fn me() -> String {
    format!("pid = {}", std::process::id())
}

#[test]
fn a_process_is_taken_by_the_selector_whose_parts_all_hold() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = config(&format!("{}, listen = \"{address}\"", me()));
    let Story::Process(story) = explain(&config, 0, &std::process::id().to_string()).unwrap() else {
        panic!("a process")
    };
    assert_eq!(story.target.as_deref(), Some("s/n"));
    assert!(story.listening.contains(&address.to_string()), "{story:?}");
    assert!(story.targets[0].matches && story.targets[0].parts.len() == 2);
    let other = &story.targets[1];
    assert!(!other.matches);
    let exe = std::env::current_exe().unwrap().display().to_string();
    assert_eq!((other.parts[0].key, other.parts[0].holds), ("exe", false));
    assert_eq!(other.parts[0].seen, [exe]);
    assert_eq!(story.parents[0].pid, std::os::unix::process::parent_id());
    assert_eq!(story.parents[0].target, None);
}

#[test]
fn a_child_follows_its_parent() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let story = explain(&config(&me()), 0, &child.id().to_string());
    child.kill().unwrap();
    child.wait().unwrap();
    let Story::Process(story) = story.unwrap() else { panic!("a process") };
    assert_eq!(story.target.as_deref(), Some("s/n"));
    assert!(story.because.contains(&format!("its parent {} counts for it", std::process::id())), "{story}");
}

#[test]
fn a_file_is_claimed_by_a_rule_and_told_to_be_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("7.dat");
    let file = std::fs::File::create(&path).unwrap();
    let Story::File(story) = explain(&config(&me()), 0, path.to_str().unwrap()).unwrap() else {
        panic!("a file")
    };
    assert_eq!(story.inode, file.metadata().unwrap().ino());
    let rule = &story.targets[0].rules[0];
    assert_eq!(rule.id.as_deref(), Some("v7"));
    assert_eq!(rule.captures, BTreeMap::from([("volume".to_owned(), "7".to_owned())]));
    assert_eq!(story.targets[1].verdict, "other: no_rule");
    let opener: Vec<_> = story.open.iter().map(|open| (open.pid, open.verdict.as_str())).collect();
    assert_eq!(opener, [(std::process::id(), "partition v7")]);
    assert!(story.filesystem.is_some(), "{story}");
    drop(file);
    let story = explain(&config(&me()), 0, path.to_str().unwrap()).unwrap().to_string();
    assert!(story.contains("no process of a target has it open"), "{story}");
}

#[test]
fn what_is_not_counted_is_said_to_be() {
    let error = |what: &str| explain(&config(&me()), 0, what).unwrap_err().to_string();
    assert_eq!(error("/proc"), "/proc is neither a regular file nor a block device; only these are counted");
    assert_eq!(error("4194305"), "no process 4194305 runs a program here");
    assert_eq!(error("/no/such/file"), "/no/such/file");
}

#[test]
fn a_block_device_tells_what_is_mounted_from_it() {
    // Whatever real device this machine has its files on.
    let mounts = procfs::process::Process::myself().unwrap().mountinfo().unwrap().0;
    let mounted = mounts.iter().find(|mount| Path::new("/sys/dev/block").join(&mount.majmin).exists());
    let Some(mount) = mounted else {
        eprintln!("no file system here lies on a block device");
        return;
    };
    let folder = Path::new("/sys/dev/block").join(&mount.majmin).canonicalize().unwrap();
    let name = folder.file_name().unwrap().to_str().unwrap();
    let Story::Device(story) = explain(&config(&me()), 0, name).unwrap() else { panic!("a device") };
    assert_eq!(story.number, mount.majmin);
    assert!(story.size_bytes.unwrap() > 0);
    let places: Vec<&String> = story.filesystems.iter().flat_map(|found| &found.mounted_at).collect();
    assert!(places.contains(&&mount.mount_point.display().to_string()), "{story}");
    assert!(story.rules.is_empty());
    let mut claimed = config(&me());
    let rule = DeviceRule::new(&Path::new("/dev").join(name), 0, None, Some(1 << 20), "$stripe").unwrap();
    claimed.targets[0].rules.push(Rule::Device(rule));
    let Story::Device(story) = explain(&claimed, 0, name).unwrap() else { panic!("a device") };
    if Path::new("/dev").join(name).exists() {
        let claims = "byte 0 to the end, in stripes of 1048576 bytes, for partition \"$stripe\"";
        assert_eq!(story.rules[0].claims, claims);
        assert!(story.to_string().contains(&format!("a rule of s/n claims {claims}")), "{story}");
    }
}
