use super::*;

fn agents(change: impl FnOnce(&mut Limits)) -> Agents {
    let mut limits = Limits::default();
    change(&mut limits);
    let memory = Memory::new(&limits);
    Agents::new(limits, memory)
}

fn run(agent: &str, boot: &str) -> Run {
    Run { agent: AgentId::new(agent).unwrap(), boot: BootId::new(boot).unwrap() }
}

fn enter(agents: &Agents, agent: &str, boot: &str, now: Instant) -> Result<Visit, Exceeded> {
    agents.enter(agents.arrive()?, run(agent, boot), now)
}

fn names(nodes: &[u64], partitions: impl IntoIterator<Item = u64>) -> Names {
    Names { nodes: nodes.to_vec(), partitions: partitions.into_iter().collect() }
}

#[test]
fn limits_are_met_by_name_and_places_come_back() {
    let agents = agents(|limits| (limits.max_streams, limits.max_agents) = (3, 2));
    let now = Instant::now();
    let first = enter(&agents, "a", "1", now).unwrap();
    let _second = enter(&agents, "b", "1", now).unwrap();
    let error = enter(&agents, "c", "1", now).unwrap_err();
    assert_eq!(error.to_string(), "agent c would be one more than ingest.max_agents = 2");
    let _third = enter(&agents, "b", "1", now).unwrap();
    let error = enter(&agents, "b", "1", now).unwrap_err();
    assert_eq!(error.to_string(), "this stream would be one more than ingest.max_streams = 3");
    drop(first);
    assert!(enter(&agents, "c", "1", now).is_err(), "an agent is not forgotten at once");
    assert!(enter(&agents, "c", "1", now + 2 * REMEMBERED).is_ok());
    assert_eq!((agents.totals().streams, agents.totals().refused_streams), (2, 3));
}

#[test]
fn a_stream_gives_way_to_a_newer_one_of_its_own_run_only() {
    let agents = agents(|limits| limits.max_streams_per_agent = 2);
    let now = Instant::now();
    let visits = [enter(&agents, "a", "1", now).unwrap(), enter(&agents, "a", "2", now).unwrap()];
    let error = enter(&agents, "a", "3", now).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this stream of agent a would be one more than ingest.max_streams_per_agent = 2"
    );
    let _newer = enter(&agents, "a", "2", now).unwrap();
    let replaced = |visit: &Visit| visit.replaced.is_cancelled();
    assert_eq!((replaced(&visits[0]), replaced(&visits[1])), (false, true));
    assert_eq!(agents.statuses()[0].streams, 2);
}

#[test]
fn a_batch_with_too_many_new_names_leaves_no_trace() {
    let agents = agents(|limits| {
        (limits.max_nodes_per_agent, limits.max_partitions_per_agent, limits.max_partitions) = (2, 10, 15);
    });
    let now = Instant::now();
    let (first, second) = (enter(&agents, "a", "1", now).unwrap(), enter(&agents, "b", "1", now).unwrap());
    first.admit(&names(&[1], 0..10), now).unwrap();
    first.admit(&names(&[1], 0..10), now).unwrap();
    let error = first.admit(&names(&[1], 9..12), now).unwrap_err();
    assert_eq!(
        error.to_string(),
        "partition 1 of 2 in this batch that were not seen before would be one more than \
         ingest.max_partitions_per_agent = 10"
    );
    assert_eq!(first.admit(&names(&[1, 2, 3], []), now).unwrap_err().key, "max_nodes_per_agent");
    assert_eq!(second.admit(&names(&[1], 0..6), now).unwrap_err().key, "max_partitions");
    second.admit(&names(&[1], 0..5), now).unwrap();
    assert_eq!(agents.totals().partitions, 15);
    // What one has forgotten is room for the other.
    let later = now + Duration::from_secs(3 * 3_600);
    first.admit(&names(&[1], []), later).unwrap();
    assert_eq!(agents.totals().partitions, 5);
    second.admit(&names(&[1], 0..10), later).unwrap();
    assert_eq!(agents.totals().partitions, 10);
}

#[test]
fn refusals_are_told_a_few_times() {
    let agents = agents(|_| {});
    let now = Instant::now();
    let visit = enter(&agents, "a", "1", now).unwrap();
    assert_eq!((0..100).filter(|_| visit.refused("nonsense", now)).count(), 5);
    assert!(visit.refused("nonsense", now + 2 * TELLING));
    assert_eq!(agents.statuses()[0].counted.refused, 101);
}
