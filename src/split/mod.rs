//! Read/write split: commands to the primary, queries to replicas that are fresh enough.
//!
//! So far the laws alone: [what a user has seen](seen), and [how old a replica is](timeline).

#![cfg_attr(not(test), allow(dead_code, reason = "laws that no service goes by yet"))]

mod seen;
mod timeline;
