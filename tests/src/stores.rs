//! Real storage systems whose servers can be killed and started again, each on a machine of its own or all on this one.

pub mod seaweedfs;
pub mod valkey;
