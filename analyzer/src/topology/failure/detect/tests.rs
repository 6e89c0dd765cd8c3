use super::*;

const HOLD_MS: u64 = 30_000;

fn at(s: u64) -> Timestamp {
    Timestamp::from_ms(s * 1_000)
}

fn up() -> Seen {
    Seen { up: Some(true), ..Seen::default() }
}

fn down(source: Recorder) -> Seen {
    Seen { up: Some(false), source, why: "why".to_owned(), ..Seen::default() }
}

fn silent(seen: Seen, since: u64) -> Seen {
    Seen { silent_since: Some(at(since)), ..seen }
}

/// What is recorded while `views` are seen, each from its second to the next one's, every two seconds.
fn recorded(views: &[(u64, Seen)], until: u64) -> Vec<(u64, Command)> {
    let mut machine = Machine::default();
    let mut all = Vec::new();
    for now in (0..until).step_by(2) {
        let Some((_, seen)) = views.iter().rev().find(|(from, _)| *from <= now) else { continue };
        let (next, commands) = machine.step(seen, false, HOLD_MS, at(now));
        all.extend(commands.into_iter().map(|command| (now, command)));
        machine = next;
    }
    all
}

fn open(from: u64, cause: Cause, source: Recorder, note: &str) -> Command {
    Command::Open { from: at(from), cause, source, note: note.to_owned() }
}

fn close(to: u64, cause: Cause) -> Command {
    Command::Close { at: at(to), cause }
}

#[test]
fn a_failure_is_from_the_first_moment_and_after_the_hold_down() {
    let views = [(0, up()), (10, down(Recorder::Topology)), (100, up())];
    let want = [(40, open(10, Cause::Failure, Recorder::Topology, "why")), (130, close(100, Cause::Failure))];
    assert_eq!(recorded(&views, 200), want);
}

#[test]
fn a_restart_is_no_failure_and_a_node_that_flaps_fails_once() {
    assert!(recorded(&[(0, up()), (10, down(Recorder::Topology)), (38, up())], 200).is_empty());
    let flaps =
        [(0, up()), (10, down(Recorder::Topology)), (60, up()), (80, down(Recorder::Topology)), (120, up())];
    let all = recorded(&flaps, 300);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[1].1, close(120, Cause::Failure));
}

#[test]
fn what_nobody_sees_changes_nothing() {
    let views = [(0, up()), (10, down(Recorder::Topology)), (60, Seen::default())];
    assert_eq!(recorded(&views, 1_000).len(), 1, "it stays down");
    let views =
        [(0, up()), (10, down(Recorder::Topology)), (20, Seen::default()), (400, down(Recorder::Topology))];
    assert_eq!(recorded(&views, 1_000)[0].1, open(400, Cause::Failure, Recorder::Topology, "why"));
}

#[test]
fn a_node_that_was_draining_was_taken_down_on_purpose() {
    let draining = Seen { draining: true, ..up() };
    let views = [(0, up()), (4, draining), (10, down(Recorder::Topology))];
    assert_eq!(recorded(&views, 60)[0].1, open(10, Cause::Maintenance, Recorder::Topology, "why"));
}

#[test]
fn a_silent_agent_alone_is_agent_loss() {
    let note = "its agent is silent, and nothing else says that it is down";
    for seen in [up(), Seen::default()] {
        let views = [(0, seen.clone()), (20, silent(seen.clone(), 12)), (100, seen)];
        let want =
            [(50, open(12, Cause::AgentLoss, Recorder::Agent, note)), (100, close(100, Cause::AgentLoss))];
        assert_eq!(recorded(&views, 200), want);
    }
}

#[test]
fn an_agent_that_goes_with_its_node_is_not_lost_beside() {
    let views = [(0, up()), (10, silent(down(Recorder::Topology), 8)), (100, up())];
    let all = recorded(&views, 200);
    let want = [(40, open(10, Cause::Failure, Recorder::Topology, "why")), (130, close(100, Cause::Failure))];
    assert_eq!(all, want);
}

#[test]
fn a_second_signal_makes_an_agent_loss_a_failure() {
    let views =
        [(0, up()), (20, silent(Seen::default(), 12)), (80, silent(down(Recorder::Agent), 12)), (200, up())];
    let all = recorded(&views, 300);
    let was = Command::LossWasFailure { from: at(12), note: "why".to_owned() };
    assert_eq!(all[1..], [(110, was), (230, close(200, Cause::Failure))]);

    let views = [(0, up()), (20, silent(up(), 12)), (80, silent(down(Recorder::Topology), 12))];
    let all = recorded(&views, 300);
    let want =
        [(110, close(80, Cause::AgentLoss)), (110, open(80, Cause::Failure, Recorder::Topology, "why"))];
    assert_eq!(all[1..], want, "the topology saw it up until then");
}

#[test]
fn what_is_on_record_is_gone_on_with_after_a_restart() {
    let mut machine = Machine::default();
    machine.resume(Cause::Failure, at(1));
    let (machine, none) = machine.step(&down(Recorder::Topology), false, HOLD_MS, at(100));
    assert!(none.is_empty(), "it is on record");
    let (machine, _) = machine.step(&up(), false, HOLD_MS, at(110));
    let (machine, commands) = machine.step(&up(), false, HOLD_MS, at(140));
    assert_eq!(commands, [close(110, Cause::Failure)]);
    assert!(machine.is_idle());
    let mut gone = Machine::default();
    gone.resume(Cause::Failure, at(1));
    let (gone, commands) = gone.step(&Seen::default(), true, HOLD_MS, at(100));
    assert_eq!(
        (commands, gone.is_idle()),
        (vec![close(100, Cause::Failure)], true),
        "nobody names it any more"
    );
}
