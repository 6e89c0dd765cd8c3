use super::*;

const TARGET: &str = "[[target]]\nsystem = \"s\"\nnode = \"n\"\nselect = { pid = 1 }\n";

fn error(text: &str) -> String {
    Config::parse(Path::new("agent.toml"), text).unwrap_err().to_string()
}

#[test]
fn defaults_are_filled_in() {
    let config = Config::parse(Path::new("agent.toml"), TARGET).unwrap();
    assert_eq!(config.window, Duration::from_secs(10));
    assert_eq!(config.endpoint, "http://127.0.0.1:7600");
    assert_eq!(config.targets[0].node.to_string(), "s/n");
    assert!(!config.agent.as_str().is_empty());
}

#[test]
fn a_node_is_named_by_the_address_that_it_is_selected_by() {
    let text = "[[target]]\nsystem = \"s\"\nselect = { listen = \"10.0.0.1:8080\" }\n";
    let config = Config::parse(Path::new("agent.toml"), text).unwrap();
    assert_eq!(config.targets[0].node.to_string(), "s/10.0.0.1:8080");
    assert!(config.targets[0].rules.is_empty());
}

#[test]
fn errors_name_line_and_key() {
    let with = |text: &str| format!("{TARGET}{text}");
    for (text, want) in [
        (
            String::new(),
            "agent.toml:1: target: nothing to watch: add a [[target]], or try `isotherm-agent top`",
        ),
        ("[agent]\nwindw = \"1s\"".into(), "agent.toml:2: unknown field `windw`, expected `id` or `window`"),
        (
            "[agent]\nwindow = \"soon\"".into(),
            "agent.toml:2: agent.window: expected number at 0, such as \"10s\"",
        ),
        (
            "[agent]\nwindow = \"2h\"".into(),
            "agent.toml:2: agent.window: must be whole milliseconds from 100ms to 1h",
        ),
        (
            "[analyzer]\nendpoint = \"nowhere\"".into(),
            "agent.toml:2: analyzer.endpoint: \"nowhere\" is no address such as \"http://127.0.0.1:7600\" or \"https://analyzer.example:7600\"",
        ),
        ("[limits]\nfiles = 1".into(), "agent.toml:2: limits.files: must be from 64 to 1048576"),
        ("[[target]]\nsystem = \"s\"".into(), "agent.toml:1: missing field `select`"),
        (
            TARGET.replace("node = \"n\"\n", ""),
            "agent.toml:2: target[0].node: give the store's own name of the node; only one that is selected by the address it listens on can do without, and is named by that",
        ),
        (with(TARGET), "agent.toml:5: target[1]: node s/n is also the target of line 1"),
        (
            with(&TARGET.replace("\"n\"", "\"m\"")),
            "agent.toml:5: target[1]: selects the same processes as the target of line 1",
        ),
        (
            TARGET.replace("pid = 1", ""),
            "agent.toml:4: target[0].select: give at least one of exe, cmdline, pid, cgroup, unit, listen",
        ),
        (
            TARGET.replace("pid = 1", "listen = \"8080\""),
            "agent.toml:4: target[0].select.listen: \"8080\" is no address:port such as \"10.0.0.1:8080\"",
        ),
        (
            "[metrics]\nlisten = \"7601\"".into(),
            "agent.toml:2: metrics.listen: \"7601\" is neither \"off\" nor an address:port such as \"127.0.0.1:7601\"",
        ),
        (
            TARGET.replace("pid = 1", "unit = \"weed@*\""),
            "agent.toml:4: target[0].select.unit: is a pattern; give one unit, or a regular expression as `cgroup`",
        ),
        (
            TARGET.replace("\"s\"", "\"host\""),
            "agent.toml:2: target[0].system: \"host\" is the agent's own, for what happens on the host's block devices and is no target's; name the store",
        ),
        (TARGET.replace("\"n\"", "\"\""), "agent.toml:3: target[0].node: node is empty"),
        (
            with("[[target.rule]]\npath = 'x([0-9]+)'\npartition = \"$2\""),
            "agent.toml:7: target[0].rule[0].partition: $2 is no group of the path, nor ${port} of a port or ${stripe} of a device",
        ),
        (
            with("[[target.rule]]\npath = 'x'\npartition = \"all\""),
            "agent.toml:7: target[0].rule[0].partition: names no group of the path, so that all files would be one partition",
        ),
        (
            with(
                "[[target.rule]]\npath = '(a)'\npartition = \"$1\"\n[[target.rule]]\npath = '(a)'\npartition = \"x$1\"",
            ),
            "agent.toml:9: target[0].rule[1].path: claims the same paths as the rule of line 6",
        ),
    ] {
        assert_eq!(error(&text), want, "\n{text}");
    }
    let bad_regex = error(&TARGET.replace("pid = 1", "cgroup = '('"));
    assert!(bad_regex.starts_with("agent.toml:4: target[0].select.cgroup: "), "{bad_regex}");
    let bad_regex = error(&with("[[target.rule]]\npath = '(a'\npartition = \"$1\""));
    assert!(bad_regex.starts_with("agent.toml:6: target[0].rule[0].path: "), "{bad_regex}");
    assert!(bad_regex.contains("unclosed group"), "{bad_regex}");
}

#[test]
fn what_cannot_change_while_it_runs_is_named() {
    let parse = |text: &str| Config::parse(Path::new("agent.toml"), &format!("{text}{TARGET}")).unwrap();
    let old = parse("");
    assert!(old.needing_restart(&old.clone()).is_empty());
    let other_target = Config::parse(Path::new("a"), &TARGET.replace("pid = 1", "pid = 2")).unwrap();
    assert!(old.needing_restart(&other_target).is_empty());
    let new = parse(
        "[agent]\nid = \"x\"\nwindow = \"1s\"\n[analyzer]\nendpoint = \"http://h:1\"\n[limits]\nfiles = 64\n\
         [metrics]\nlisten = \"off\"\n",
    );
    assert_eq!(new.metrics.listen, Listen::Off);
    assert_eq!(
        old.needing_restart(&new),
        ["agent.id", "agent.window", "analyzer.endpoint", "limits", "metrics"]
    );
}

#[test]
fn rules_claim_paths_ports_or_devices() {
    let rule =
        |rule: &str| Config::parse(Path::new("agent.toml"), &format!("{TARGET}[[target.rule]]\n{rule}\n"));
    for good in [
        "path = '(a)'\npartition = \"$1\"",
        "port = 6379\npartition = \"$port\"",
        "port = \"7000-7010\"\npartition = \"all\"",
        "device = \"/dev/sdb\"\nstripe = \"64MiB\"\npartition = \"$stripe\"",
        "device = \"/dev/sdb\"\nfrom = \"1GiB\"\nto = \"2GiB\"\npartition = \"log\"",
    ] {
        assert_eq!(rule(good).unwrap().targets[0].rules.len(), 1, "{good}");
    }
    for (bad, want) in [
        ("partition = \"x\"", "agent.toml:5: target[0].rule[0]: give one of path, port, device"),
        (
            "path = '(a)'\nport = 1\npartition = \"x\"",
            "agent.toml:5: target[0].rule[0]: give one of path, port, device",
        ),
        (
            "port = 1\nstripe = \"1MiB\"\npartition = \"x\"",
            "agent.toml:7: target[0].rule[0].stripe: is of a device only",
        ),
        (
            "port = \"9-8\"\npartition = \"x\"",
            "agent.toml:6: target[0].rule[0].port: \"9-8\" is no port or range of ports such as 6379 or \"7000-7010\"",
        ),
        (
            "device = \"sdb\"\npartition = \"x\"",
            "agent.toml:6: target[0].rule[0].device: give a path such as \"/dev/sdb\"",
        ),
        (
            "device = \"/dev/sdb\"\nto = \"x\"\npartition = \"x\"",
            "agent.toml:7: target[0].rule[0].to: \"x\" is no number of bytes such as \"64MiB\"",
        ),
        (
            "device = \"/dev/sdb\"\nto = \"1KiB\"\npartition = \"x\"",
            "agent.toml:6: target[0].rule[0].device: 1024 bytes: parts of a device begin, end and are divided at multiples of 256 KiB",
        ),
    ] {
        assert_eq!(rule(bad).unwrap_err().to_string(), want, "{bad}");
    }
}
