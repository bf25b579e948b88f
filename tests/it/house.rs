//! Reads the source, and enforces the rules of the house that no compiler knows: imports point
//! down, locks live in one room, one place reads the clock.

use std::collections::BTreeSet;

use crate::source::{File, engines, source};

/// What `parts` and the machines of the layers may know of `core`.
const PURE_WORDS: [&str; 5] = ["config", "error", "event", "outcome", "time"];
/// What a protocol or a user adds on top, and on which of the others it may stand. Every other folder but `core`,
/// `parts` and `shell` is a layer.
const WINGS: [(&str, &[&str]); 5] = [
    ("stack", &[]),
    ("http", &["stack"]),
    ("grpc", &["stack", "http"]),
    ("reqwest", &["stack", "http"]),
    ("testing", &[]),
];
/// Folders of a wing that only what stands in the same folder may import, and the wing's own `mod.rs`.
const SIDES: [[&str; 2]; 2] = [["http", "client"], ["http", "server"]];

/// What every layer's folder has.
const LAYER_FILES: [&str; 3] = ["mod.rs", "config.rs", "layer.rs"];
/// What it has besides: a algorithm for the one shell, or a shell of its own.
const IN_THE_SHELL: &[&str] = &["policy.rs"];
const OWN_SHELL: &[&str] = &["service.rs", "future.rs"];
/// Services over several others: they are built, and are no layers. Their future is that of `shell/set/`.
const SETS: &[&str] = &["endpoints", "failover", "shards", "split"];
const SET_FILES: [&str; 4] = ["mod.rs", "builder.rs", "service.rs", "handle.rs"];
/// What keeps events and is no layer: a machine, what runs it under load (the only room with locks), and the service
/// that calls go through.
const ENGINES: &[&str] = &["bus", "log"];
const ENGINE_FILES: [&str; 4] = ["mod.rs", "machine.rs", "service.rs", "engine/mod.rs"];
/// The headings of every layer's guide, in order.
const HEADINGS: [&str; 8] = [
    "Example",
    "When, and when not",
    "How it decides",
    "Defaults",
    "Rejections",
    "Events and metrics",
    "Order",
    "Cancellation",
];

const MOST_LINES: usize = 420;
/// Files that are too long, and how long at most. They may only get shorter.
const TOO_LONG: &[(&str, usize)] = &[];

// ===== rooms =====

#[derive(Debug, Clone, PartialEq, Eq)]
enum Room {
    Lib,
    Core,
    Parts,
    Shell,
    Layer(String),
    Wing(&'static str),
}

impl Room {
    /// Where a module lives; `None` for what the crate's root only re-exports.
    fn of(first: Option<&str>) -> Option<Self> {
        Some(match first {
            None => Self::Lib,
            Some("core") => Self::Core,
            Some("parts") => Self::Parts,
            Some("shell") => Self::Shell,
            Some(word) if word.starts_with(char::is_uppercase) => return None,
            Some(word) => match WINGS.iter().find(|(wing, _)| *wing == word) {
                Some((wing, _)) => Self::Wing(wing),
                None => Self::Layer(word.into()),
            },
        })
    }

    fn may_import(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Lib) => false,
            (Self::Wing(wing), Self::Wing(other)) => wing == other || below(wing).contains(other),
            (Self::Lib | Self::Wing(_), _) | (_, Self::Core) => true,
            (Self::Layer(_), other) => matches!(other, Self::Parts | Self::Shell) || self == other,
            _ => self == other,
        }
    }
}

/// The wings that one stands on.
fn below(wing: &str) -> &'static [&'static str] {
    WINGS.iter().find(|(name, _)| *name == wing).map_or(&[], |(_, below)| *below)
}

fn layers(files: &[File]) -> BTreeSet<String> {
    let rooms = files.iter().filter_map(|file| Room::of(file.module().first().copied()));
    rooms
        .filter_map(|room| match room {
            Room::Layer(name) => Some(name),
            _ => None,
        })
        .collect()
}

/// The machine of each layer, and the files of the same layer that it stands on.
fn pure_files(files: &[File]) -> BTreeSet<&str> {
    let mut pure: BTreeSet<&str> =
        files.iter().map(|file| &*file.path).filter(|path| path.ends_with("/machine.rs")).collect();
    loop {
        let mut more = BTreeSet::new();
        for file in files.iter().filter(|file| pure.contains(&*file.path)) {
            let Some((room, _)) = file.path.split_once('/') else { continue };
            for (_, path) in file.paths() {
                for depth in 2..=path.len().min(3) {
                    let named = format!("{}.rs", path[..depth].join("/"));
                    let below = files.iter().find(|file| path[0] == room && file.path == named);
                    more.extend(below.map(|file| &*file.path));
                }
            }
        }
        let before = pure.len();
        pure.extend(more);
        if pure.len() == before {
            return pure;
        }
    }
}

// ===== rules =====

fn broken_arrows(files: &[File]) -> Vec<String> {
    let pure = pure_files(files);
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| !file.is_test()) {
        let module = file.module();
        let Some(room) = Room::of(module.first().copied()) else { continue };
        let is_pure = room == Room::Parts || pure.contains(&*file.path);
        for (at, path) in file.paths() {
            let told = format!("src/{}:{at} imports {}", file.path, path.join("::"));
            let Some(first) = path.first() else { continue };
            match Room::of(Some(first)) {
                None => breaches.push(format!("{told}: through the root, not where it lives")),
                Some(other) if !room.may_import(&other) => {
                    breaches.push(format!("{told}: upwards"));
                }
                Some(_) if crosses(&module, &path) => {
                    breaches.push(format!("{told}: from one side to the other"));
                }
                Some(Room::Core)
                    if is_pure && path.get(1).is_none_or(|word| !PURE_WORDS.contains(&&**word)) =>
                {
                    breaches.push(format!("{told}: a machine may know {PURE_WORDS:?}"));
                }
                Some(Room::Shell) if is_pure => breaches.push(format!("{told}: it must stay pure")),
                Some(_) => {}
            }
        }
    }
    breaches
}

/// Whether a module of one side of a wing, or of what both sides stand on, imports from the other.
fn crosses(module: &[&str], path: &[String]) -> bool {
    SIDES.iter().any(|[wing, side]| {
        let inside = module.first() == Some(wing) && module.len() > 1;
        inside && module[1] != *side && path.len() > 2 && path[0] == *wing && path[1] == *side
    })
}

/// Words that only some files may say.
fn forbidden_words(files: &[File]) -> Vec<String> {
    type Allowed = fn(&str) -> bool;
    let pure = pure_files(files);
    let rules: [(&[&str], Allowed, &str); 4] = [
        (
            &["Instant::now", "SystemTime", "std::time::Instant"],
            |path| path == "core/time.rs",
            "one place reads a clock, and it is tokio's (pitfall B6)",
        ),
        (
            &["Mutex", "RwLock", "Condvar"],
            |path| {
                path.starts_with("shell/")
                    || path.contains("/engine/")
                    || ["core/sync.rs", "testing/mock_service.rs"].contains(&path)
            },
            "locks live in the shell, in the engine of a machine, and with the records of the mock",
        ),
        (
            &[".unwrap()", "todo!", "unimplemented!", "dbg!", "println!", "eprintln!"],
            |_| false,
            "not in a library",
        ),
        (&["wake_by_ref"], |path| path.starts_with("testing/"), "nobody wakes itself"),
    ];
    let impure = ["tokio", "tower", "metrics", "Waker", "Atomic", "Arc<", "dyn Fn"];
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| !file.is_test()) {
        for (at, line) in file.code() {
            for (words, allowed, why) in &rules {
                if let Some(word) = words.iter().find(|word| line.contains(**word))
                    && !allowed(&file.path)
                {
                    breaches.push(format!("src/{}:{at} says {word}: {why}", file.path));
                }
            }
            if (pure.contains(&*file.path) || file.path.starts_with("parts/"))
                && let Some(word) = impure.iter().find(|word| line.contains(**word))
            {
                breaches.push(format!("src/{}:{at} says {word}: machines are pure", file.path));
            }
        }
    }
    breaches
}

fn long_files(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let exempt = TOO_LONG.iter().find(|(path, _)| *path == file.path);
        let most = exempt.map_or(MOST_LINES, |(_, most)| *most);
        let lines = file.text.lines().count();
        if lines > most {
            breaches.push(format!("src/{} has {lines} lines, {most} are the most", file.path));
        }
        if exempt.is_some() && lines <= MOST_LINES {
            breaches.push(format!("src/{} has become short: strike it from the list", file.path));
        }
    }
    breaches
}

fn odd_layers(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for layer in layers(files) {
        let find = |name: &str| files.iter().find(|file| file.path == format!("{layer}/{name}"));
        let shell = if find("service.rs").is_some() { OWN_SHELL } else { IN_THE_SHELL };
        let (files, shell): (&[&str], &[&str]) = match &*layer {
            set if SETS.contains(&set) => (&SET_FILES, &[]),
            engine if ENGINES.contains(&engine) => (&ENGINE_FILES, &[]),
            _ => (&LAYER_FILES, shell),
        };
        let missing = files.iter().chain(shell).filter(|name| find(name).is_none());
        breaches.extend(missing.map(|name| format!("src/{layer}/{name} is missing")));
        let headings = find("mod.rs").map(headings).unwrap_or_default();
        if headings != HEADINGS {
            breaches.push(format!("src/{layer}/mod.rs has the headings {headings:?}"));
        }
    }
    breaches
}

fn headings(guide: &File) -> Vec<&str> {
    let mut in_code = false;
    let mut headings = Vec::new();
    for line in guide.text.lines().filter_map(|line| line.strip_prefix("//! ")) {
        in_code ^= line.starts_with("```");
        if !in_code {
            headings.extend(line.strip_prefix("# "));
        }
    }
    headings
}

#[track_caller]
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

// ===== tests =====

#[test]
fn imports_point_down() {
    assert_none(&broken_arrows(&source()));
}

// pitfall B6, and the parameters of machines and locks
#[test]
fn some_words_are_said_in_one_room_only() {
    assert_none(&forbidden_words(&source()));
}

#[test]
fn no_file_is_too_long() {
    assert_none(&long_files(&source()));
    assert_none(&long_files(&engines()));
}

/// Their tests wait for real servers, and their examples print.
#[test]
fn engines_keep_the_rules_of_a_library() {
    let mut files = engines();
    files.retain(|file| file.path.contains("/src/"));
    let mut breaches = forbidden_words(&files);
    // Where they keep connections, somebody has to hold them.
    breaches.retain(|breach| !(breach.contains("clients.rs") && breach.contains("says Mutex")));
    assert_none(&breaches);
}

#[test]
fn every_layer_is_a_folder_with_the_same_files_and_headings() {
    let files = source();
    assert!(layers(&files).contains("circuit_breaker") && layers(&files).contains("timeout"));
    assert_none(&odd_layers(&files));
}

/// The rules themselves: each of these houses breaks one.
#[test]
fn a_house_that_breaks_a_rule_is_found_out() {
    let arrows = [
        ("core/time.rs", "use crate::shell::lock;"),
        ("core/event.rs", "use crate::timeout::Config;"),
        ("parts/break_duration.rs", "use crate::core::request::Deadline;"),
        ("parts/break_duration.rs", "use crate::shell::lock;"),
        ("shell/gate.rs", "use crate::timeout::Config;"),
        ("shell/gate.rs", "use crate::parts::break_duration::Ladder;"),
        ("timeout/layer.rs", "use crate::circuit_breaker::Trip;"),
        ("timeout/layer.rs", "    Ok(super::super::circuit_breaker::Trip::default())"),
        ("timeout/layer.rs", "use crate::http::Replay;"),
        ("timeout/layer.rs", "    let x: crate::Outcome = todo;"),
        ("timeout/machine.rs", "use crate::shell::keyed::Forgettable;"),
        ("timeout/machine.rs", "use crate::core::origin::Origin;"),
        ("timeout/layer.rs", "use crate::stack::Client;"),
        ("stack/build.rs", "use crate::http::Replay;"),
        ("http/replay.rs", "    crate::grpc::parse_timeout(value)"),
        ("http/classify/mod.rs", "        return crate::reqwest::of_error(error);"),
        ("grpc/client.rs", "use crate::reqwest::InTimeout;"),
        ("reqwest/client.rs", "use crate::grpc::Code;"),
        ("testing/bench.rs", "use crate::stack::Client;"),
        ("http/client/attempt.rs", "use crate::http::server::rejection_settings::Asked;"),
        ("http/replay.rs", "use super::server::untrusted_headers::Untrusted;"),
    ];
    for (path, line) in arrows {
        assert_eq!(broken_arrows(&[File::new(path, line)]).len(), 1, "{path}: {line}");
    }
    let below = [
        File::new("x/machine.rs", "use super::params::Params;"),
        File::new("x/params.rs", "use crate::core::rng;"),
    ];
    assert_eq!(broken_arrows(&below).len(), 1);
    let further_below = [
        File::new("x/machine.rs", "use super::engine::step::Input;"),
        File::new("x/engine/step.rs", "use crate::shell::lock;"),
    ];
    assert_eq!(broken_arrows(&further_below).len(), 1);

    let words = [
        ("core/request.rs", "    Instant::now()"),
        ("shell/gate.rs", "use std::time::SystemTime;"),
        ("timeout/policy.rs", "    state: Mutex<State>,"),
        ("timeout/policy.rs", "    x.unwrap()"),
        ("shell/gate.rs", "    cx.waker().wake_by_ref();"),
        ("timeout/machine.rs", "use tokio::time::Instant;"),
    ];
    for (path, line) in words {
        assert_eq!(forbidden_words(&[File::new(path, line)]).len(), 1, "{path}: {line}");
    }

    assert_eq!(long_files(&[File::new("core/time.rs", &"\n".repeat(MOST_LINES + 1))]).len(), 1);
    let guide = HEADINGS.map(|heading| format!("//! # {heading}\n")).concat();
    let mut folder: Vec<_> = [&LAYER_FILES[..], IN_THE_SHELL]
        .concat()
        .iter()
        .map(|name| File::new(&format!("x/{name}"), &guide))
        .collect();
    assert_none(&odd_layers(&folder));
    folder[0].text = guide.replace("Order", "Odour");
    assert_eq!(odd_layers(&folder).len(), 1);
    folder.pop();
    assert_eq!(odd_layers(&folder).len(), 2);

    let innocent = [
        ("timeout/layer.rs", "use super::config::Config;\nuse crate::shell::gate::InFlight;"),
        (
            "timeout/layer.rs",
            "/// See [`Trip`](crate::circuit_breaker::Trip).\nmod tests {\n x.unwrap()",
        ),
        ("core/time.rs", "    Instant::now() // the one place"),
        ("shell/mod.rs", "use std::sync::Mutex;"),
        ("timeout/engine/shared.rs", "use std::sync::Mutex;"),
        ("timeout/tests.rs", "use crate::shell::lock; x.unwrap()"),
        (
            "grpc/respond.rs",
            "use crate::http::server::rejection_settings::Asked;\nuse crate::stack::Client;",
        ),
        ("http/mod.rs", "pub use self::client::drain::DrainLayer;"),
        (
            "http/server/mod.rs",
            "use super::rejection_settings::Asked;\nuse crate::http::TimeoutHeader;",
        ),
    ];
    for (path, text) in innocent {
        let files = [File::new(path, text)];
        assert_none(&broken_arrows(&files));
        assert_none(&forbidden_words(&files));
    }
}
