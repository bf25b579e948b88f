//! Every public name is used in an example that compiles, or belongs to a kind that needs none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit_mut::VisitMut;
use syn::{Item, ItemUse, UseTree};

use super::names::{Crate, Home, name_of};
use crate::source::source;

/// Names without an example, by kind, with the reason of each kind.
const WITHOUT: &[(&str, &[&str])] = &[
    (
        "builders: `X::builder` begins one, `build` ends it",
        &[
            "bulkhead::Builder",
            "circuit_breaker::Builder",
            "health::Builder",
            "http::ServerBuilder",
            "http::body_timeout::Builder",
            "failover::Builder",
            "fallback::Builder",
            "fence::Builder",
            "hedge::Builder",
            "keyed::KeyedBuilder",
            "leader::Builder",
            "leader::LayerBuilder",
            "log::CommandsBuilder",
            "log::ProjectionBuilder",
            "rate_limit::Builder",
            "retry::BudgetBuilder",
            "retry::Builder",
            "retry::KeyedBudgetBuilder",
            "endpoints::Builder",
            "shards::AffineBuilder",
            "shards::Builder",
            "shards::OwnsBuilder",
            "split::Builder",
            "stack::ClientBuilder",
            "timeout::Builder",
        ],
    ),
    (
        "layers that a method or a function of another name makes",
        &[
            "bulkhead::KeyedBulkheadLayer",
            "circuit_breaker::KeyedCircuitBreakerLayer",
            "fence::KeyedFenceLayer",
            "gate::And",
            "gate::BackpressureLayer",
            "gate::GateLayer",
            "rate_limit::KeyedRateLimitLayer",
            "http::body_timeout::RequestBodyTimeoutLayer",
            "stack::ClientLayer",
            "log::Follow",
            "stack::KeyedClientLayer",
            "stack::StackLayer",
        ],
    ),
    ("response bodies: a layer wraps them around the inner one, and users read a `Body`", &[]),
    ("what defaults become in the types of layers", &["OnResponse"]),
];

#[test]
fn every_public_name_has_an_example() {
    let krate = Crate::read();
    let examples = examples();
    assert!(examples.len() > 50, "only {} examples were found", examples.len());
    let used: Vec<Used> = examples.iter().map(Used::of).collect();
    let exempt: BTreeSet<&str> = WITHOUT.iter().flat_map(|(_, names)| *names).copied().collect();

    let (mut wrong, mut known) = (Vec::new(), BTreeSet::new());
    for (module, names) in krate.public() {
        for (name, home) in names {
            if !is_type_trait_or_function(&krate, &home) {
                continue;
            }
            let path = [module.as_slice(), &[name]].concat();
            let shown = used.iter().any(|used| used.has(&path));
            let path = path.join("::");
            match (shown, exempt.contains(path.as_str())) {
                (false, false) => wrong.push(format!("{path} has no example")),
                (true, true) => wrong.push(format!("{path} has an example after all")),
                _ => {}
            }
            known.insert(path);
        }
    }
    let gone = exempt.iter().filter(|name| !known.contains(**name));
    wrong.extend(gone.map(|name| format!("{name} is exempt and does not exist")));
    assert!(known.len() > 150, "only {} names were found", known.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), known.len(), wrong.join("\n"));
}

/// Not consts: they are the defaults of settings, and stand in the table of their module.
fn is_type_trait_or_function(krate: &Crate, (module, name): &Home) -> bool {
    krate.0[module].items.iter().any(|item| {
        let is_one = matches!(
            item,
            Item::Enum(_) | Item::Fn(_) | Item::Struct(_) | Item::Trait(_) | Item::Type(_)
        );
        is_one && name_of(item).as_ref() == Some(name)
    })
}

/// What an example uses of the crate.
struct Used {
    imports: Vec<Vec<String>>,
    code: String,
}

impl Used {
    fn of(example: &(String, String)) -> Self {
        let (place, code) = example;
        let file = syn::parse_file(&format!("fn main() {{ {code}\n }}"));
        let mut file = file.unwrap_or_else(|error| panic!("{place}: {error}:\n{code}"));
        let mut imports = Imports(Vec::new());
        imports.visit_file_mut(&mut file);
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        Self { imports: imports.0, code: lines.collect::<Vec<_>>().join("\n") }
    }

    /// Whether it imports the name, or calls it by the module it is in (`stack::client`).
    fn has(&self, path: &[String]) -> bool {
        let module = path.iter().rev().nth(1).map_or("seawall", String::as_str);
        let short = format!("{module}::{}", path.last().unwrap());
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        self.imports.iter().any(|import| import == path)
            || self.code.match_indices(&short).any(|(at, _)| {
                let (before, after) = (&self.code[..at], &self.code[at + short.len()..]);
                !is_word(before.chars().next_back()) && !is_word(after.chars().next())
            })
    }
}

/// The paths that are imported from the crate, without its name.
struct Imports(Vec<Vec<String>>);

impl VisitMut for Imports {
    fn visit_item_use_mut(&mut self, item: &mut ItemUse) {
        self.walk(&item.tree, &[]);
    }
}

impl Imports {
    fn walk(&mut self, tree: &UseTree, before: &[String]) {
        let mut end = |name: &syn::Ident| {
            if before.first().is_some_and(|first| first == "seawall") {
                self.0.push([&before[1..], &[name.to_string()]].concat());
            }
        };
        match tree {
            UseTree::Path(step) => {
                self.walk(&step.tree, &[before, &[step.ident.to_string()]].concat());
            }
            UseTree::Name(name) => end(&name.ident),
            UseTree::Rename(name) => end(&name.ident),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.walk(tree, before)),
            UseTree::Glob(_) => {}
        }
    }
}

/// The examples that `cargo test --doc` compiles, each with the file it stands in.
fn examples() -> Vec<(String, String)> {
    let mut texts = BTreeMap::new();
    for file in source() {
        for page in file.text.split("include_str!(\"../").skip(1) {
            let page = page.split('"').next().unwrap();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
            texts.insert(page.to_owned(), std::fs::read_to_string(path).unwrap());
        }
        let comments = file.text.lines().map(|line| {
            let line = line.trim_start();
            line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).unwrap_or("```end")
        });
        texts.insert(file.path.clone(), comments.collect::<Vec<_>>().join("\n"));
    }
    assert!(texts.contains_key("README.md"));
    texts.iter().flat_map(|(place, text)| blocks(text).map(|code| (place.clone(), code))).collect()
}

/// The blocks of Rust in a page of Markdown that are compiled.
fn blocks(text: &str) -> impl Iterator<Item = String> {
    let (mut blocks, mut open) = (Vec::new(), None);
    for line in text.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line);
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (_, Some("end")) => open = None, // the comment is over
            (None, Some(kind)) => {
                let compiles = kind.split(',').all(|word| ["", "rust", "no_run"].contains(&word));
                open = Some((compiles, String::new()));
            }
            (Some(_), Some(_)) => {
                let (compiles, code) = open.take().expect("it is open");
                blocks.extend(compiles.then_some(code));
            }
            (Some((_, code)), None) => {
                let line = line.trim_start();
                // A line that is hidden from readers, unless it is an attribute.
                let line = line.strip_prefix("# ").unwrap_or(if line == "#" { "" } else { line });
                code.push_str(line);
                code.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks.into_iter()
}
