//! The storage systems that can be moved.

pub mod seaweedfs;
