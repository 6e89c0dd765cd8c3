//! infeasible
