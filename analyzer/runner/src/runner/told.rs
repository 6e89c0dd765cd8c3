//! What answers of adapters say to people: lines of the diary, words of refusals, and what comparisons found.

use crate::journal::{About, Compared, MOST_COMPARISONS};
use isotherm_adapter::client::Answered;
use isotherm_migration::{
    Done, Epoch, Fate, Outcome, Phase, Question, Reason, RequestId, StepKind, Told, Verification,
};

/// What an answer has for people.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Learned {
    /// New words, or that the old ones are of no interest any more; absent where the answer says nothing of that.
    pub(super) words: Option<Option<String>>,
    /// What a comparison found.
    pub(super) compared: Option<Finding>,
}

/// What a comparison found, before it is known when.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    request: String,
    epoch: Option<Epoch>,
    equal: bool,
    evidence: String,
}

impl Finding {
    /// The same as it is kept; `serving` is the epoch that serves as far as is known, where the answer does not name it.
    pub(super) fn at(self, now_ms: u64, serving: Option<Epoch>) -> Compared {
        let Self { request, epoch, equal, evidence } = self;
        Compared { at_ms: now_ms, request, epoch: epoch.or(serving).unwrap_or(Epoch(0)), equal, evidence }
    }
}

impl About {
    /// Keeps what a comparison found; one that is told again is kept once.
    pub(super) fn keep(&mut self, compared: Compared) {
        if self.compared.iter().any(|known| known.request == compared.request) {
            return;
        }
        self.compared.push(compared);
        let over = self.compared.len().saturating_sub(MOST_COMPARISONS);
        self.compared.drain(..over);
    }
}

/// What came of a call.
pub(super) fn learned(request: &RequestId, answered: &Answered<Outcome>) -> Learned {
    let words = answered.words.clone();
    match &answered.answer {
        Outcome::Done(done) => success(request, done),
        Outcome::Refused(reason) => refusal(request, reason, words),
        Outcome::Accepted | Outcome::Unknown => Learned { words: words.map(Some), compared: None },
    }
}

/// What a question brought.
pub(super) fn observation(question: &Question, answered: &Answered<Told>) -> Learned {
    let words = answered.words.clone();
    let fate = match &answered.answer {
        Told::State(state) => state.fate.as_ref(),
        Told::Refused(_) | Told::Unknown => None,
    };
    match (&question.about, fate) {
        (Some(request), Some(Fate::Done(done))) => success(request, done),
        (Some(request), Some(Fate::Refused(reason))) => refusal(request, reason, words),
        (_, Some(Fate::Done(_) | Fate::Refused(_) | Fate::Unheard | Fate::Running) | None) => {
            Learned { words: words.map(Some), compared: None }
        }
    }
}

fn success(request: &RequestId, done: &Done) -> Learned {
    let compared = verification(done).map(|found| Finding {
        request: request.to_string(),
        epoch: Some(found.epoch),
        equal: true,
        evidence: found.evidence.clone(),
    });
    Learned { words: forgets(done).then_some(None), compared }
}

/// Whether a step that succeeded makes earlier words of no interest. One on the way back does not: they may say why.
fn forgets(done: &Done) -> bool {
    match done {
        Done::Validated(_)
        | Done::Prepared
        | Done::Replicated
        | Done::CaughtUp { .. }
        | Done::Verified(_)
        | Done::Fenced { .. }
        | Done::Committed
        | Done::Retired => true,
        Done::Unfenced | Done::Reversed | Done::Aborted => false,
    }
}

fn refusal(request: &RequestId, reason: &Reason, words: Option<String>) -> Learned {
    let differs = request.step == StepKind::Verify && *reason == Reason::Mismatch;
    let compared = differs.then(|| Finding {
        request: request.to_string(),
        epoch: None,
        equal: false,
        evidence: words.clone().unwrap_or_default(),
    });
    Learned { words: words.map(Some), compared }
}

fn verification(done: &Done) -> Option<&Verification> {
    match done {
        Done::Verified(verification) => Some(verification),
        Done::Validated(_)
        | Done::Prepared
        | Done::Replicated
        | Done::CaughtUp { .. }
        | Done::Fenced { .. }
        | Done::Committed
        | Done::Unfenced
        | Done::Reversed
        | Done::Retired
        | Done::Aborted => None,
    }
}

/// Whether a migration that ended so was undone after it had begun to have effects, and by nobody's wish before a switch.
pub(super) fn rolled_back(before: Phase, end: Phase) -> bool {
    matches!(before, Phase::Aborting | Phase::Unfencing | Phase::Reversing)
        && matches!(end, Phase::Failed | Phase::Reversed)
}

/// What came of a call, for the diary.
pub(super) fn outcome(request: &RequestId, answered: &Answered<Outcome>) -> String {
    let words = answered.words.as_deref().unwrap_or_default();
    match &answered.answer {
        Outcome::Done(done) => format!("{request}: {}", ended(done)),
        Outcome::Accepted => format!("{request}: runs"),
        Outcome::Refused(reason) => format!("{request}: refused: {reason}: {words}"),
        Outcome::Unknown => format!("{request}: unknown: {words}"),
    }
}

/// What a question brought, if it is worth a line: that a step still runs is not.
pub(super) fn observed(question: &Question, answered: &Answered<Told>) -> Option<String> {
    let words = answered.words.as_deref().unwrap_or_default();
    let about = question.about.as_ref().map_or("the partition".to_owned(), ToString::to_string);
    match &answered.answer {
        Told::State(state) => match &state.fate {
            None | Some(Fate::Running) => None,
            Some(Fate::Unheard) => Some(format!("{about}: was not heard of")),
            Some(Fate::Done(done)) => Some(format!("{about}: {}", ended(done))),
            Some(Fate::Refused(reason)) => Some(format!("{about}: refused: {reason}: {words}")),
        },
        Told::Refused(reason) => Some(format!("{about}: asked, refused: {reason}: {words}")),
        Told::Unknown => Some(format!("{about}: asked, unknown: {words}")),
    }
}

/// That a step is done, with the evidence of a comparison.
fn ended(done: &Done) -> String {
    match verification(done) {
        Some(Verification { epoch, evidence, .. }) => format!("done: equal at epoch {epoch}: {evidence}"),
        None => "done".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_migration::MigrationId;

    fn request(step: StepKind) -> RequestId {
        RequestId { migration: MigrationId::new("m").unwrap(), step, epoch: Some(Epoch(8)), attempt: 3 }
    }

    fn refused(reason: Reason, words: &str) -> Answered<Outcome> {
        Answered { answer: Outcome::Refused(reason), words: Some(words.to_owned()) }
    }

    #[test]
    fn a_success_makes_the_words_of_a_refusal_old() {
        let (prepare, busy) = (request(StepKind::PrepareTarget), Reason::Transient { retry_after_ms: None });
        let told = learned(&prepare, &refused(busy, "the disk is busy"));
        assert_eq!(told.words, Some(Some("the disk is busy".to_owned())));
        let done = Answered { answer: Outcome::Done(Done::Prepared), words: None };
        assert_eq!(learned(&prepare, &done).words, Some(None));
        let undone = Answered { answer: Outcome::Done(Done::Aborted), words: None };
        assert_eq!(learned(&prepare, &undone).words, None, "the words of the refusal say why");
        let runs = Answered { answer: Outcome::Accepted, words: None };
        assert_eq!(learned(&prepare, &runs).words, None, "whether it succeeds is not known yet");
    }

    #[test]
    fn comparisons_are_kept_with_their_evidence_whatever_they_found() {
        let verify = request(StepKind::Verify);
        let found =
            Verification { migration: verify.migration.clone(), epoch: Epoch(7), evidence: "9 rows".into() };
        let done = Answered { answer: Outcome::Done(Done::Verified(found)), words: None };
        assert_eq!(outcome(&verify, &done), "m/verify/8/3: done: equal at epoch 7: 9 rows");
        let kept = learned(&verify, &done).compared.unwrap().at(5, Some(Epoch(6)));
        assert_eq!(
            (kept.epoch, kept.equal, kept.at_ms, kept.evidence.as_str()),
            (Epoch(7), true, 5, "9 rows")
        );
        let differs = learned(&verify, &refused(Reason::Mismatch, "8 rows and 9")).compared.unwrap();
        let differs = differs.at(6, Some(Epoch(6)));
        assert_eq!(
            (differs.epoch, differs.equal, differs.evidence.as_str()),
            (Epoch(6), false, "8 rows and 9")
        );
        assert_eq!(learned(&verify, &refused(Reason::Conflict, "busy")).compared, None);
        let commit = request(StepKind::CommitSwitch);
        assert_eq!(learned(&commit, &refused(Reason::Mismatch, "not its warrant")).compared, None);
    }

    #[test]
    fn only_what_was_undone_against_everybodys_wish_is_a_rollback() {
        assert!(
            rolled_back(Phase::Aborting, Phase::Failed) && rolled_back(Phase::Reversing, Phase::Reversed)
        );
        for (before, end) in [
            (Phase::Preflight, Phase::Failed),
            (Phase::Aborting, Phase::Cancelled),
            (Phase::Retiring, Phase::Completed),
            (Phase::Planned, Phase::Expired),
        ] {
            assert!(!rolled_back(before, end), "{before:?} {end:?}");
        }
    }
}
