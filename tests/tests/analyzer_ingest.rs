//! The real analyzer takes in what agents send, exactly once, and refuses what it cannot understand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_model::Operation;
use isotherm_proto::telemetry::v1::{Encoding, NackReason};
use isotherm_proto::{MAX_PAYLOAD_BYTES, MAX_ROWS, compressed, window_set_to_payload};
use support::analyzer::Analyzer;
use support::sample::{node, row, ten_reads, window};
use support::telemetry::{Agent, Answer, Ended, hello};

fn dirs() -> (tempfile::TempDir, tempfile::TempDir) {
    (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn what_is_acknowledged_is_answered_for() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    assert_eq!(agent.welcome.committed_seq, 0);
    assert_eq!(agent.welcome.max_payload_bytes as usize, MAX_PAYLOAD_BYTES);
    for seq in 1..=5 {
        assert_eq!(agent.deliver(seq, &[ten_reads(seq)]).await.unwrap(), Answer::Ack(seq));
    }
    assert_eq!(analyzer.counted_reads().await.unwrap(), 50);
    let nodes = analyzer.nodes().await.unwrap();
    assert_eq!((nodes[0].name.as_str(), nodes[0].agents.as_slice()), ("a", &["host".to_owned()][..]));
    assert_eq!(nodes[0].total.unwrap().reads, 50);
}

#[tokio::test]
async fn pipelined_batches_are_answered_in_order() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    let windows: Vec<_> = (1..=40).map(ten_reads).collect();
    agent.deliver_all(1, &windows).await.unwrap();
    assert_eq!(analyzer.counted_reads().await.unwrap(), 400);
}

#[tokio::test]
async fn batches_that_come_twice_are_counted_once() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    for seq in [1, 1, 2, 1, 2] {
        assert_eq!(agent.deliver(seq, &[ten_reads(seq)]).await.unwrap(), Answer::Ack(seq));
    }
    let mut again = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    assert_eq!(again.welcome.committed_seq, 2);
    assert_eq!(again.deliver(2, &[ten_reads(2)]).await.unwrap(), Answer::Ack(2));
    assert_eq!(analyzer.counted_reads().await.unwrap(), 20);
}

#[tokio::test]
async fn a_batch_out_of_order_is_refused_until_a_batch_or_gap_fills_the_hole() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    let detail = "batch 1 must come first".to_owned();
    assert_eq!(
        agent.deliver(3, &[ten_reads(3)]).await.unwrap(),
        Answer::Nack(3, NackReason::OutOfOrder, detail)
    );
    assert_eq!(agent.deliver(1, &[ten_reads(1)]).await.unwrap(), Answer::Ack(1));
    agent.send_gap(2, 2).await.unwrap();
    assert_eq!(agent.answer().await.unwrap(), Answer::Ack(2));
    assert_eq!(agent.deliver(3, &[ten_reads(3)]).await.unwrap(), Answer::Ack(3));
    assert_eq!(analyzer.counted_reads().await.unwrap(), 20);
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_alone() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    agent.send_payload(1, vec![0xff; 100]).await.unwrap();
    let Answer::Nack(1, NackReason::Malformed, detail) = agent.answer().await.unwrap() else {
        panic!("damaged payloads are malformed");
    };
    assert!(detail.starts_with("the payload is not a WindowSet"), "{detail}");

    let mut lying = ten_reads(1);
    lying.nodes[0].totals.values_mut().for_each(|total| total.ops += 1);
    agent.send_payload(1, window_set_to_payload(&[lying])).await.unwrap();
    let Answer::Nack(1, NackReason::Malformed, detail) = agent.answer().await.unwrap() else {
        panic!("numbers that contradict each other are malformed");
    };
    assert!(detail.contains("the total is 11 operations"), "{detail}");

    agent.send_payload(1, vec![0; MAX_PAYLOAD_BYTES + 1]).await.unwrap();
    let too_large = agent.answer().await.unwrap();
    assert!(matches!(too_large, Answer::Nack(1, NackReason::TooLarge, _)), "{too_large:?}");

    let many_hours: Vec<_> = (0..25).map(|hour| ten_reads(hour * 3_600)).collect();
    let too_many = agent.deliver(1, &many_hours).await.unwrap();
    assert!(matches!(too_many, Answer::Nack(1, NackReason::TooLarge, _)), "{too_many:?}");

    let many_nodes: Vec<_> = (0..MAX_ROWS).map(|id| node(&id.to_string(), Vec::new())).collect();
    agent.send_payload(1, window_set_to_payload(&[window(1, many_nodes)])).await.unwrap();
    let Answer::Nack(1, NackReason::TooLarge, detail) = agent.answer().await.unwrap() else {
        panic!("more rows than are accepted are too large");
    };
    assert!(detail.contains("more than the 262144 rows"), "{detail}");

    for seq in [0, u64::MAX] {
        let zero = agent.deliver(seq, &[ten_reads(1)]).await.unwrap();
        assert!(matches!(zero, Answer::Nack(_, NackReason::Malformed, _)), "{zero:?}");
    }
    agent.send_gap(3, 2).await.unwrap();
    let backwards = agent.answer().await.unwrap();
    assert!(matches!(backwards, Answer::Nack(2, NackReason::Malformed, _)), "{backwards:?}");

    assert_eq!(agent.deliver(1, &[ten_reads(1)]).await.unwrap(), Answer::Ack(1));
}

#[tokio::test]
async fn compressed_batches_are_counted_and_bombs_and_damaged_ones_refused_alone() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    let zstd = Encoding::Zstd.into();
    let good = compressed(&window_set_to_payload(&[ten_reads(1)]));
    let bomb = compressed(&vec![0; MAX_PAYLOAD_BYTES + 1]);
    assert!(bomb.len() < 10_000);
    for (payload, encoding, reason, what) in [
        (bomb, zstd, NackReason::TooLarge, "the payload has 8388609 bytes"),
        (good[..good.len() - 3].to_vec(), zstd, NackReason::Malformed, "the payload is no zstd frame"),
        (vec![7; 100], zstd, NackReason::Malformed, "the payload is no zstd frame"),
        (compressed(&[0xff; 100]), zstd, NackReason::Malformed, "the payload is not a WindowSet"),
        (good.clone(), 7, NackReason::Malformed, "batch.encoding is 7"),
        (good.clone(), 0, NackReason::Malformed, "the payload is not a WindowSet"),
    ] {
        agent.send_encoded(1, payload, encoding).await.unwrap();
        let answer = agent.answer().await.unwrap();
        let Answer::Nack(1, found, detail) = &answer else { panic!("{answer:?}") };
        assert_eq!((*found, detail.starts_with(what)), (reason, true), "{detail}");
    }
    agent.send_encoded(1, good, zstd).await.unwrap();
    assert_eq!(agent.answer().await.unwrap(), Answer::Ack(1));
    assert_eq!(agent.deliver(2, &[ten_reads(2)]).await.unwrap(), Answer::Ack(2));
    assert_eq!(analyzer.counted_reads().await.unwrap(), 20);
}

#[tokio::test]
async fn an_agent_that_sends_more_than_its_credit_is_told_so() {
    let (data, scratch) = dirs();
    let analyzer =
        Analyzer::start_with(data.path(), scratch.path(), "store::segment_written=sleep(1000)").unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    let credit = u64::from(agent.credit);
    assert!((1..=16).contains(&credit), "{credit}");
    // Nothing is answered within the first second, and all of its credit is taken.
    for seq in 1..=credit {
        agent.send(seq, &[ten_reads(seq)]).await.unwrap();
    }
    for seq in 1..=credit {
        assert_eq!(agent.answer().await.unwrap(), Answer::Ack(seq));
    }
    let next = credit + 1;
    for seq in next..=next + u64::from(agent.credit) {
        agent.send(seq, &[ten_reads(seq)]).await.unwrap();
    }
    let error = loop {
        match agent.answer().await {
            Ok(answer) => assert!(matches!(answer, Answer::Ack(_)), "{answer:?}"),
            Err(error) => break error,
        }
    };
    let Ended(code, message) = error.downcast_ref().unwrap();
    assert_eq!(*code, tonic::Code::ResourceExhausted);
    assert!(message.contains("was sent with credit for"), "{message}");
}

#[tokio::test]
async fn credit_is_shared_by_streams_and_never_none() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let mut agents = Vec::new();
    for id in 0..100 {
        agents.push(Agent::connect(&analyzer.url, &format!("n{id}"), "boot").await.unwrap());
    }
    let credits: Vec<u32> = agents.iter().map(|agent| agent.credit).collect();
    assert_eq!((credits[0], credits[99]), (16, 1), "{credits:?}");
    for agent in &mut agents {
        assert_eq!(agent.deliver(1, &[ten_reads(1)]).await.unwrap(), Answer::Ack(1));
    }
}

#[tokio::test]
async fn a_nonsense_hello_ends_the_stream() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    for mut nonsense in [hello("", "boot"), hello("host", ""), hello("host", "boot")] {
        nonsense.window_ms = 0;
        let refused = Agent::introduce(&analyzer.url, nonsense).await.unwrap().err().unwrap();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
}

#[tokio::test]
async fn agents_side_by_side_lose_nothing() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let deliver = |name: String| {
        let url = analyzer.url.clone();
        async move {
            let mut agent = Agent::connect(&url, &name, "boot").await.unwrap();
            for seq in 1..=10 {
                let rows = (0..20).map(|id| row(&id.to_string(), Operation::Read, 1)).collect();
                let window = window(seq, vec![node(&name, rows)]);
                assert_eq!(agent.deliver(seq, &[window]).await.unwrap(), Answer::Ack(seq));
            }
        }
    };
    let agents: Vec<_> = (0..8).map(|id| tokio::spawn(deliver(format!("n{id}")))).collect();
    for agent in agents {
        agent.await.unwrap();
    }
    assert_eq!(analyzer.counted_reads().await.unwrap(), 8 * 10 * 20);
}
