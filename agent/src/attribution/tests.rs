use super::*;
use crate::discovery::Selector;
use crate::locator::Located;
use crate::rule::Rule;
use isotherm_model::SystemId;

fn target(rules: &[(&str, &str)]) -> Target {
    Target {
        node: NodeId::new(SystemId::new("s").unwrap(), "n").unwrap(),
        select: Selector::default(),
        rules: rules.iter().map(|(path, id)| Rule::path(path, id).unwrap()).collect(),
        located: Located::default(),
    }
}

fn named(ino: u64, path: Option<&str>) -> PathBelowMount {
    // A device that is mounted nowhere: paths come out without their leading slash.
    let (dev, tgid) = (0xfff << 20, std::process::id());
    PathBelowMount { ino, dev, generation: 0, tgid, path: path.map(PathBuf::from) }
}

fn key(ino: u64) -> FileKey {
    FileKey { ino, dev: 0xfff << 20, generation: 0, target: 0, operation: 0, shift: 12 }
}

fn word(subject: Subject) -> String {
    match subject {
        Subject::Partition(id) => id.name().to_owned(),
        Subject::Other(reason) => reason.to_string(),
        Subject::Unattributed(reason) => reason.to_string(),
    }
}

#[test]
fn a_file_is_unattributed_until_its_name_arrives() {
    let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 10);
    assert_eq!(word(attribution.file(&key(5))), "no_path");
    attribution.learn(vec![named(5, Some("/7.dat")), named(6, None)]);
    assert_eq!(word(attribution.file(&key(5))), "7");
    assert_eq!(word(attribution.file(&key(6))), "no_path");
    assert_eq!(word(attribution.file(&FileKey::overflow(0, 1))), "files_full");
}

#[test]
fn a_renamed_file_changes_hands() {
    let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 10);
    attribution.learn(vec![named(5, Some("/7.cpd"))]);
    assert_eq!(word(attribution.file(&key(5))), "no_rule");
    attribution.learn(vec![named(5, Some("/7.dat"))]);
    assert_eq!(word(attribution.file(&key(5))), "7");
}

#[test]
fn partitions_beyond_the_limit_are_other() {
    let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 1);
    attribution.learn(vec![named(1, Some("/1.dat")), named(2, Some("/2.dat")), named(3, Some("/1.dat"))]);
    assert_eq!(word(attribution.file(&key(1))), "1");
    assert_eq!(word(attribution.file(&key(2))), "partition_limit");
    assert_eq!(word(attribution.file(&key(3))), "1");
}

fn named_by_kernel(path: &Path) -> (PathBelowMount, FileKey) {
    let (ino, dev, below_root) = crate::mounts::below_root(path);
    let name = PathBelowMount { ino, dev, generation: 0, tgid: std::process::id(), path: Some(below_root) };
    (name, FileKey { ino, dev, generation: 0, target: 0, operation: 0, shift: 12 })
}

#[test]
fn a_rename_on_disk_is_noticed_and_a_deletion_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let (old, new) = (folder.join("7.cpd"), folder.join("7.dat"));
    std::fs::write(&old, "x").unwrap();
    let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 1);
    let (name, key) = named_by_kernel(&old);
    attribution.learn(vec![name]);
    let moved = |attribution: &mut Attribution| attribution.any_moved([key].iter(), |_| None);
    assert!(!moved(&mut attribution));
    std::fs::rename(&old, &new).unwrap();
    assert!(moved(&mut attribution));
    let (name, _) = named_by_kernel(&new);
    attribution.learn(vec![name.clone()]);
    assert!(!moved(&mut attribution));
    assert_eq!(word(attribution.file(&key)), "7");
    std::fs::remove_file(&new).unwrap();
    assert!(moved(&mut attribution));
    // The kernel can only say the same again.
    attribution.learn(vec![name]);
    assert!(!moved(&mut attribution));
    assert_eq!(word(attribution.file(&key)), "7");
}

#[test]
fn a_name_that_became_too_deep_is_no_claim() {
    let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 10);
    attribution.learn(vec![named(5, Some("/7.dat"))]);
    assert_eq!(word(attribution.file(&key(5))), "7");
    attribution.learn(vec![named(5, None)]);
    assert_eq!(word(attribution.file(&key(5))), "no_path");
}

#[test]
fn evicted_files_are_forgotten_unless_they_are_back() {
    let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 10);
    attribution.learn(vec![named(1, Some("/1.dat")), named(2, Some("/2.dat")), named(3, Some("/3.dat"))]);
    attribution.file(&key(2));
    attribution.next_round();
    // The third was touched again: its name came just before its eviction is dealt with.
    attribution.learn(vec![named(3, Some("/3.dat"))]);
    attribution
        .forget(&[&key(1), &key(2), &key(3)].map(InodeId::from), &HashSet::from([InodeId::from(&key(1))]));
    let known = |ino| attribution.path(&key(ino)).is_some();
    assert_eq!((known(1), known(2), known(3)), (true, false, true));
    assert!(attribution.claims.is_empty() && attribution.partitions.is_empty());
}

#[test]
fn other_rules_claim_the_same_names() {
    let mut attribution = Attribution::new(&[target(&[(r"(\d+)\.dat$", "$1")])], 1);
    attribution.learn(vec![named(5, Some("/7.dat")), named(6, Some("/8.idx"))]);
    assert_eq!(word(attribution.file(&key(5))), "7");
    attribution.reload(&[target(&[(r"(\d+)\.idx$", "$1")])], [0]);
    assert_eq!(word(attribution.file(&key(5))), "no_rule");
    // The partition that went makes room within the limit.
    assert_eq!(word(attribution.file(&key(6))), "8");
}

#[test]
fn a_file_is_where_watched_processes_see_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("7.dat");
    std::fs::write(&path, "x").unwrap();
    let mut attribution = Attribution::new(&[target(&[(r"^/.*/(\d+)\.dat$", "$1")])], 1);
    let (name, key) = named_by_kernel(&path);
    // A sender that has ended, as a kernel's thread, sees nothing.
    let nobody = PathBelowMount { tgid: u32::MAX >> 1, ..name };
    let renew = |attribution: &mut Attribution| attribution.any_moved([].iter(), |_| None);
    assert!(!renew(&mut attribution));
    attribution.set_viewers([std::process::id()]);
    assert!(renew(&mut attribution), "files may have other paths in its view");
    attribution.set_viewers([std::process::id()]);
    assert!(!renew(&mut attribution));
    attribution.learn(vec![nobody.clone()]);
    assert_eq!(attribution.path(&key), Some(path.as_path()));
    // Nor does it take away the name when the watched process has ended.
    attribution.set_viewers([]);
    std::fs::remove_file(&path).unwrap();
    attribution.learn(vec![nobody]);
    assert_eq!(attribution.path(&key), Some(path.as_path()));
    assert_eq!(word(attribution.file(&key)), "7");
}

#[test]
fn a_device_is_claimed_once_and_told_when_it_is_missing() {
    let rule =
        |path: &str| Rule::Device(crate::rule::DeviceRule::new(Path::new(path), 0, None, None, "p").unwrap());
    let with = |node: &str, rules: Vec<Rule>| Target {
        node: NodeId::new(SystemId::new("s").unwrap(), node).unwrap(),
        select: Selector::default(),
        rules,
        located: Located::default(),
    };
    let targets = [with("a", vec![rule("/dev/x")]), with("b", vec![rule("/dev/x"), rule("/dev/y")])];
    let mut attribution = Attribution::new(&targets, 1);
    let found = attribution.find_devices(|path| (path == Path::new("/dev/x")).then_some(7), &BTreeSet::new());
    assert_eq!(
        found.claims.iter().map(|(dev, stripes)| (*dev, stripes.target)).collect::<Vec<_>>(),
        [(7, 0)]
    );
    assert_eq!(found.missing, [(targets[1].node.clone(), PathBuf::from("/dev/y"))]);
    assert_eq!(found.disputed, [(7, targets[0].node.clone(), targets[1].node.clone())]);
}
