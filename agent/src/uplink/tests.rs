use super::*;
use crate::spool::Bounds;
use isotherm_model::{AgentId, BootId, Timestamp};

#[test]
fn only_batches_are_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds { dir: folder.path().to_owned(), max_bytes: 1 << 20, max_batches: 1 };
    let (agent, boot) = (AgentId::new("a").unwrap(), BootId::new("b").unwrap());
    let hello = Hello { agent, boot, version: String::new(), window_ms: 1, targets: Vec::new() };
    let mut spool = Spool::open(bounds, hello, Timestamp::from_ms(0)).unwrap();
    let time = Interval::new(Timestamp::from_ms(0), Timestamp::from_ms(1)).unwrap();
    for _ in 0..3 {
        spool.push(vec![1], time);
    }
    let run = spool.turn();
    let nack =
        |seq, reason: wire::NackReason| wire::Nack { seq, reason: reason.into(), detail: String::new() };
    assert_eq!(refused(&nack(3, wire::NackReason::Retry), &mut spool, run), Refusal::SendAgain);
    assert_eq!(refused(&nack(3, wire::NackReason::Malformed), &mut spool, run), Refusal::GivenUp);
    // The first two are a gap already, and the third is one by now.
    for seq in [1, 3, 9] {
        assert_eq!(refused(&nack(seq, wire::NackReason::TooLarge), &mut spool, run), Refusal::SendAgain);
    }
}

#[test]
fn no_more_is_under_way_than_was_granted() {
    let mut credit = Credit::default();
    credit.granted(2);
    let mut sent = 0;
    while credit.has_room() {
        credit.sent();
        sent += 1;
    }
    assert_eq!(sent, 2);
    // Less is granted while more is under way: nothing goes out until enough is answered.
    credit.answered();
    credit.granted(1);
    assert!(!credit.has_room());
    credit.answered();
    assert!(credit.has_room());
    credit.granted(0);
    assert!(credit.has_room(), "nothing stalls for ever");
}
