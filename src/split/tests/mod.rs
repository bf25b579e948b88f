//! The laws of a session, explored.

mod explore;
