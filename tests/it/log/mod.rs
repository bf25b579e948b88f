//! Event sourcing: logs in memory and in files, commands, projections.

mod commands;
mod damage;
mod files;
mod lifetime;
mod memory;
mod projections;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use seawall::log::Decide;

/// A folder that goes with its owner.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("seawall-log-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub(crate) fn first(&self) -> PathBuf {
        self.0.join("00000000000000000001.log")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

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
