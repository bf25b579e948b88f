//! The law of the bulkhead, stepped by hand.

mod explore;
