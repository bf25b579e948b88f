//! The algorithm of a health check, stepped by hand.

mod explore;
