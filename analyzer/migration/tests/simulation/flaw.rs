//! What an adapter or a runner can do wrong. The simulator must see it.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdapterFlaw {
    None,
    /// It takes every epoch.
    SkipsEpochs,
    /// It takes every term.
    SkipsTerms,
    /// It lets writes go on whatever epoch serves.
    UnfencesBlindly,
    /// It does a request again when it comes again.
    ForgetsRequests,
    /// It leaves a slot behind.
    AbortLeavesSlot,
    /// It compares nothing.
    VerifiesBlindly,
    /// It answers a comparison with what an earlier one found, of a copy that is gone.
    KeepsVerification,
    /// It switches by any verification, also one that it has not made.
    TakesAnyWarrant,
    /// It stops what runs when nobody watches any more.
    StopsUnwatched,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunnerFlaw {
    None,
    /// It takes an unknown outcome for a refusal.
    UnknownIsRefused,
    /// It takes an unknown outcome for a success.
    UnknownIsDone,
    /// It makes calls before it writes that it will.
    CallsBeforeWriting,
    /// It takes a comparison of unknown outcome for one that has passed.
    UnknownIsVerified,
    /// It takes a probation for over that has just begun.
    RetiresEarly,
    /// It answers by itself who serves after the switch, and does not ask.
    LooksAway,
    /// It takes the end of a watch for the end of what was watched.
    EndOfWatchIsFailure,
}
