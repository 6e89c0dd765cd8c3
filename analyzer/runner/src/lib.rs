//! Drives migrations.
//!
//! The machine ([`isotherm_migration`]) says what is to be done next, and this does it: one [runner] owns all
//! migrations, writes each into the [journal] before it calls an adapter, tells the machine what came of the call, and
//! keeps a diary of all of it in the same transactions. Whatever dies, the journal has where each migration is, and
//! the next start goes on there.

pub mod journal;
pub mod limits;
pub mod runner;
pub mod shift;

mod diary;

pub use diary::{Kind, Line};
pub use journal::{About, Entry, Journal, JournalError, Trigger};
pub use limits::Limits;
pub use runner::{Board, Connect, Eta, Handle, Inbox, Refused, Seen, Start, UndoShift, handle, run};
pub use shift::{Shift, ShiftRefused};
