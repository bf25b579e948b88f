//! What users rely on, through the public API, in one binary.

mod circuit_breaker;
mod smoke;
