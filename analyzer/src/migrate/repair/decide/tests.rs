use super::*;
use crate::migrate::repair::track::id;
use isotherm_model::{PartitionId, SystemId};
use std::time::Duration;

fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

fn node(name: &str) -> NodeId {
    id(&system(), name).unwrap()
}

const WAIT_MS: u64 = 1_000;

/// Where a failure that has lasted long enough stands.
fn stands(told: Told, agent: AgentSays, probe: ProbeSays) -> Standing {
    standing(&Failure::default(), told, &Witness { agent, probe }, false, WAIT_MS, WAIT_MS)
}

fn fails() -> ProbeSays {
    ProbeSays::Fails("a connection to it is refused".to_owned())
}

#[test]
fn two_must_say_that_a_node_has_failed() {
    use AgentSays::{NoProcess, Nothing, Runs, Silent};
    for told in [Told::Down, Told::Gone] {
        for (agent, probe) in [
            (NoProcess, ProbeSays::Nothing),
            (NoProcess, ProbeSays::Answers),
            (Silent, ProbeSays::Nothing),
            (Silent, fails()),
            (Nothing, fails()),
        ] {
            let found = stands(told, agent, probe.clone());
            assert!(matches!(found, Standing::Confirmed(_)), "{agent:?} {probe:?}: {found:?}");
        }
        for (agent, probe) in [
            (Runs, ProbeSays::Nothing),
            (Runs, fails()),
            (Silent, ProbeSays::Answers),
            (Nothing, ProbeSays::Answers),
        ] {
            let found = stands(told, agent, probe.clone());
            assert!(matches!(found, Standing::Contradicted(_)), "{agent:?} {probe:?}: {found:?}");
        }
        assert_eq!(stands(told, Nothing, ProbeSays::Nothing), Standing::OneSignal);
        assert_eq!(stands(Told::Unknown, NoProcess, fails()), Standing::Unsaid);
    }
    let said = stands(Told::Gone, NoProcess, ProbeSays::Nothing).why(&Settings::default());
    assert_eq!(said, "the topology does not name it any more, and its agent sees no process of it any more");
}

#[test]
fn a_failure_must_last_and_not_be_on_purpose() {
    let witness = Witness { agent: AgentSays::NoProcess, probe: ProbeSays::Nothing };
    let failure = Failure { since_ms: 500, ..Failure::default() };
    let at = |failure: &Failure, maintained, now_ms| {
        standing(failure, Told::Down, &witness, maintained, WAIT_MS, now_ms)
    };
    assert_eq!(at(&failure, false, 1_499), Standing::Waits);
    assert!(matches!(at(&failure, false, 1_500), Standing::Confirmed(_)));
    assert_eq!(at(&failure, true, 1_500), Standing::Maintenance);
    let back = Failure { back_ms: Some(1_400), ..failure };
    assert_eq!(at(&back, false, 1_500), Standing::Back);
}

#[test]
fn one_signal_is_enough_where_somebody_agrees() {
    assert!(Standing::OneSignal.permits(true) && !Standing::OneSignal.permits(false));
    assert!(Standing::Confirmed(String::new()).permits(false));
    for other in [Standing::Back, Standing::Maintenance, Standing::Unsaid, Standing::Waits] {
        assert!(!other.permits(true), "{other:?}");
    }
}

fn lack(missing: usize, dead: &[&str], survivors: &[&str]) -> Lack {
    let nodes = |names: &[&str]| names.iter().map(|name| node(name)).collect();
    let partition = PartitionId::new(system(), "1").unwrap();
    Lack { partition, missing, dead: nodes(dead), survivors: nodes(survivors) }
}

fn judged(lack: &Lack, standings: &[(&str, Standing)], change: impl FnOnce(&mut Known<'_>)) -> Verdict {
    let settings = Settings { retry: Duration::from_secs(1), ..Settings::default() };
    let standings = standings.iter().map(|(name, standing)| ((*name).to_owned(), standing.clone())).collect();
    let failures = BTreeMap::from([("a".to_owned(), Failure::default())]);
    let mut known = Known {
        failures: &failures,
        standings: &standings,
        repairs: &[],
        moving: false,
        forbidden: None,
        somebody_agrees: false,
        settings: &settings,
        now_ms: 0,
    };
    change(&mut known);
    verdict(lack, &known)
}

fn confirmed() -> Standing {
    Standing::Confirmed("it is dead".to_owned())
}

#[test]
fn what_may_yet_come_back_is_not_made_again_in_the_place_of_what_is_lost() {
    let repair = |name: &str| Verdict::Repair { dead: node(name) };
    let both = [("a", confirmed()), ("b", Standing::Waits)];
    assert_eq!(judged(&lack(2, &["a", "b"], &["c"]), &both, |_| {}), repair("a"));
    assert_eq!(judged(&lack(1, &["a", "b"], &["c"]), &both, |_| {}), Verdict::Held, "b alone is missing");
    assert_eq!(
        judged(&lack(1, &["b", "a"], &["c"]), &[("a", confirmed()), ("b", confirmed())], |_| {}),
        repair("b")
    );
    assert_eq!(judged(&lack(1, &["a"], &["c"]), &[("a", Standing::OneSignal)], |_| {}), Verdict::Held);
}

#[test]
fn what_keeps_a_partition_from_being_repaired_is_said() {
    let (one, dead) = (lack(1, &["a"], &["c"]), [("a", confirmed())]);
    assert_eq!(judged(&one, &dead, |known| known.moving = true), Verdict::UnderWay);
    let forbidden = judged(&one, &dead, |known| known.forbidden = Some("never".to_owned()));
    assert_eq!(forbidden, Verdict::Not("never".to_owned()));
    let Verdict::Not(why) = judged(&lack(2, &["a"], &[]), &dead, |_| {}) else { panic!("nothing is left") };
    assert!(why.contains("no replica is left"), "{why}");
}
