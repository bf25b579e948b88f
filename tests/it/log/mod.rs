//! Event sourcing: a log in memory, commands, projections.

mod commands;
mod files;
mod memory;
mod projections;

use seawall::log::Decide;

/// A counter that must not go below zero, and that knows in which order it was changed.
#[derive(Debug)]
pub(crate) struct Counter;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Add(u64),
    Take(u64),
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Added(u64),
    Taken(u64),
}

impl Decide for Counter {
    type State = u64;
    type Command = (&'static str, Command);
    type Event = Event;
    type Error = &'static str;

    fn decide(state: &u64, (_, command): &Self::Command) -> Result<Vec<Event>, &'static str> {
        match command {
            Command::Add(by) => Ok((0..*by).map(|_| Event::Added(1)).collect()),
            Command::Take(by) if by > state => Err("too few"),
            Command::Take(by) => Ok(vec![Event::Taken(*by)]),
            Command::Nothing => Ok(vec![]),
        }
    }

    fn evolve(state: u64, event: &Event) -> u64 {
        match event {
            Event::Added(by) => state + by,
            Event::Taken(by) => state - by,
        }
    }
}
