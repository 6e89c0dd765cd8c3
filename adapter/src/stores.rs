//! The storage systems that there are adapters for: a module each, and a command each in `main`.

pub mod postgres;
pub mod seaweedfs;
pub mod simulated;
pub mod valkey;

use crate::config::Problem;
use crate::store::Store;
use isotherm_model::SystemId;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::Arc;

/// A store as the table `[store]` of a configuration describes it.
pub trait Configured: Sized + Send {
    /// The table as it is written. It should refuse fields that it does not know.
    type Raw: DeserializeOwned;

    /// Checks the table.
    fn checked(raw: Self::Raw) -> Result<Self, Problem>;

    /// Makes the store, called `system`, ready. `data` is the folder of the adapter, which exists.
    fn open(
        self,
        system: SystemId,
        data: &Path,
    ) -> impl Future<Output = anyhow::Result<Arc<dyn Store>>> + Send;

    /// What is wrong with the adapter on purpose.
    fn flaw(&self) -> Option<simulated::Flaw> {
        None
    }
}
