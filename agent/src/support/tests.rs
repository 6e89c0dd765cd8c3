use super::*;

fn support() -> Support {
    Support {
        kernel: "6.18".to_owned(),
        architecture: "x86_64",
        btf_error: None,
        lockdown: chosen("none [integrity] confidentiality"),
        bpf_stats: Some(false),
        map_memory: Some(MapMemory::ControlGroup),
        map_operations: vec![Tried { name: "create a map", error: None }],
        programs: vec![
            ProgramSupport {
                program: "p",
                layers: vec!["logical"],
                tracepoint: "t",
                tracepoint_found: Some(true),
                missing_fields: Vec::new(),
                found_fields: vec!["a.b"],
                lost_without: None,
            },
            ProgramSupport {
                program: "q",
                layers: vec!["logical"],
                tracepoint: "u",
                tracepoint_found: Some(true),
                missing_fields: Vec::new(),
                found_fields: Vec::new(),
                lost_without: Some("asynchronous accesses are not counted"),
            },
        ],
        rights: vec![RightSupport {
            capability: "CAP_BPF".to_owned(),
            purpose: "load",
            held: true,
            lost_without: None,
        }],
        self_test: SelfTest::Passed,
        layers: Vec::new(),
    }
}

fn logical(support: &Support) -> (State, Vec<String>) {
    let layer = support.layer(Layer::Logical);
    (layer.state, layer.reasons)
}

#[test]
fn a_layer_is_as_good_as_what_it_needs() {
    assert_eq!(logical(&support()), (State::Available, Vec::new()));
    let mut lacking = support();
    lacking.programs[1].tracepoint_found = Some(false);
    let why = "no tracepoint `u` for program q: asynchronous accesses are not counted";
    assert_eq!(logical(&lacking), (State::Degraded, vec![why.to_owned()]));
    lacking.programs[0].missing_fields.push("no field `a.c`".to_owned());
    let (state, reasons) = logical(&lacking);
    assert_eq!((state, reasons[0].as_str()), (State::NotAvailable, "no field `a.c` (program p)"));
    let mut refused = support();
    refused.map_operations[0].error = Some("not permitted".to_owned());
    assert_eq!(logical(&refused), (State::NotAvailable, vec!["create a map: not permitted".to_owned()]));
    let mut powerless = support();
    powerless.rights[0].held = false;
    assert_eq!(logical(&powerless), (State::NotAvailable, vec!["missing CAP_BPF (to load)".to_owned()]));
    let mut wrong = support();
    wrong.self_test = SelfTest::Failed("counted 0".to_owned());
    assert_eq!(logical(&wrong).0, State::NotAvailable);
}

#[test]
fn a_layer_without_programs_is_not_available() {
    let layer = support().layer(Layer::Network);
    assert_eq!(layer.state, State::NotAvailable);
    assert_eq!(layer.reasons, ["this version of the agent has no programs for it"]);
}

#[test]
fn the_chosen_mode_is_the_one_in_brackets() {
    assert_eq!(support().lockdown.as_deref(), Some("integrity"));
    assert_eq!(chosen("none"), None);
}

#[test]
fn this_kernel_has_the_tracepoints_and_not_others() {
    let Ok(btf) = Btf::of_running_kernel() else { return };
    assert!(PROGRAMS.iter().all(|program| btf.has_tracepoint(program.tracepoint)));
    assert!(!btf.has_tracepoint("no_such_tracepoint") && !btf.has_tracepoint(""));
}
