//! What a plan comes to.

/// Where the time went.
#[derive(Debug, Default)]
pub(super) struct Seconds {
    pub(super) reading: f64,
    pub(super) planning: f64,
    pub(super) writing: f64,
}
