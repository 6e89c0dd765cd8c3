//! How many messages an agent may have under way.
//!
//! A grant counts from the answer that carries it: so many beyond those answered by then. An agent that has sent
//! more before it hears of a smaller grant did nothing wrong, so the furthest grant counts, and no race has to be
//! tolerated. Pure.

/// The most messages of one stream that wait for their answers.
const MOST: usize = 16;

/// An agent sent more than it was granted.
#[derive(Debug, thiserror::Error)]
#[error("message {message} of the stream was sent with credit for {granted}; {answered} are answered")]
pub(super) struct Overdrawn {
    message: u64,
    granted: u64,
    answered: u64,
}

/// The account of one stream.
#[derive(Debug, Default)]
pub(super) struct Credit {
    received: u64,
    answered: u64,
    /// Messages that may be received, all together.
    edge: u64,
    last_grant: u64,
}

impl Credit {
    /// What may be under way from now on: what is, and as much more as there is room for; never none, so that
    /// nothing stalls for ever.
    pub(super) fn grant(&mut self, under_way: usize, room: usize) -> u32 {
        let granted = under_way.saturating_add(room).clamp(1, MOST);
        self.last_grant = granted as u64;
        self.edge = self.edge.max(self.answered + self.last_grant);
        // At most MOST.
        granted as u32
    }

    /// A message came.
    pub(super) fn received(&mut self) -> Result<(), Overdrawn> {
        self.received += 1;
        if self.received <= self.edge {
            return Ok(());
        }
        Err(Overdrawn { message: self.received, granted: self.edge, answered: self.answered })
    }

    /// A message is about to be answered, which is room for another one.
    pub(super) fn answered(&mut self) {
        self.answered += 1;
        self.edge = self.edge.max(self.answered + self.last_grant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_was_granted_is_refused_and_says_so() {
        let mut credit = Credit::default();
        assert_eq!(credit.grant(0, 2), 2);
        assert!(credit.received().is_ok() && credit.received().is_ok());
        credit.answered();
        assert!(credit.received().is_ok(), "an answer is room for another one, with or without a grant");
        let overdrawn = credit.received().unwrap_err().to_string();
        assert_eq!(overdrawn, "message 4 of the stream was sent with credit for 3; 1 are answered");
    }

    #[test]
    fn a_smaller_grant_does_not_refuse_what_was_sent_under_a_larger_one() {
        let mut credit = Credit::default();
        credit.grant(0, 4);
        assert!(credit.received().is_ok());
        credit.answered();
        assert_eq!(credit.grant(0, 1), 1);
        // The agent had sent three more before it heard of it.
        for _ in 0..3 {
            assert!(credit.received().is_ok());
        }
        // One more is within the first grant and its answer; beyond that the smaller one counts.
        credit.answered();
        credit.answered();
        assert!(credit.received().is_ok());
        assert!(credit.received().is_err());
    }

    #[test]
    fn a_grant_is_never_none_and_never_more_than_a_stream_may_hold() {
        let mut credit = Credit::default();
        assert_eq!(credit.grant(0, 0), 1);
        assert_eq!(credit.grant(3, 0), 3);
        assert_eq!(credit.grant(3, 1_000), MOST as u32);
    }
}
