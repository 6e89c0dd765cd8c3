//! Made-up clusters under made-up loads, whose failures are never made from entropy, and policies compared on them.
//!
//! Pure: a seed decides everything.
