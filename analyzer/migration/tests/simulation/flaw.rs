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
}
