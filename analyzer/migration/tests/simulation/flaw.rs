//! What an adapter or a runner can do wrong. The simulator must see each of them.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// The adapter takes every epoch.
    SkipsEpochs,
    /// The adapter takes every term.
    SkipsTerms,
    /// The adapter does a request again when it comes again.
    ForgetsRequests,
    /// The adapter leaves a slot behind.
    AbortLeavesSlot,
    /// The adapter compares nothing.
    VerifiesBlindly,
    /// The runner takes an unknown outcome for a refusal.
    UnknownIsRefused,
    /// The runner takes an unknown outcome for a success.
    UnknownIsDone,
    /// The runner makes calls before it writes that it will.
    CallsBeforeWriting,
}
