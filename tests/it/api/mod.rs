//! The public API, written down: a change that users see shows as a change of `docs/api.txt`.
//!
//! `examples` asks for an example of each name.
//!
//! Everything that is `pub` can be named from outside, or `unreachable_pub` would complain.

mod examples;
mod names;
mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use syn::{Item, ItemImpl, ItemMacro, Type};

use names::{Crate, Home, name_of};

const GOLDEN: &str = "docs/api.txt";
/// Set to any value, it makes the test write the file instead of comparing it.
const WRITE: &str = "SEAWALL_API_WRITE";

/// What users have to look through, and what of it stands on the first page. Both may only shrink, unless a
/// new layer comes.
const MOST_ITEMS: usize = 341; // some 60 of them for sets, some 40 for engines
const MOST_IN_ROOT: usize = 26; // Position is the latest

#[test]
fn the_public_api_stays_small() {
    let krate = Crate::read();
    let public = krate.public();
    let items: usize = public.values().map(BTreeMap::len).sum();
    assert!(items <= MOST_ITEMS, "{items} public items, {MOST_ITEMS} are the most");
    let in_root = public[&names::Path::new()].len();
    assert!(in_root <= MOST_IN_ROOT, "{in_root} in the root, {MOST_IN_ROOT} are the most");
}

#[test]
fn the_public_api_is_as_written_down() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let now = listing(&Crate::read());
    assert!(now.lines().count() > 1000, "only {} lines were found", now.lines().count());
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, &now).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (golden.lines().collect(), now.lines().collect());
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    let come = new.difference(&old).map(|line| format!("+ {line}"));
    let changes: Vec<_> = gone.chain(come).collect();
    let help = format!("if that is meant, run this test with {WRITE}=1 and add to the changelog");
    assert!(golden == now, "the public API has changed:\n{}\n{help}", changes.join("\n"));
}

fn listing(krate: &Crate) -> String {
    let blocks = blocks(krate);
    let mut text = String::new();
    for (module, names) in krate.public() {
        if names.is_empty() {
            continue;
        }
        let path = std::iter::once("seawall").chain(module.iter().map(String::as_str));
        let path = path.collect::<Vec<_>>().join("::");
        let gates = krate.features(module).join(", ");
        let gates = if gates.is_empty() { gates } else { format!(" (where {gates})") };
        writeln!(text, "// ===== {path}{gates} =====\n").unwrap();
        for (name, home) in names {
            let items = &krate.0[&home.0].items;
            let own = items.iter().filter(|item| name_of(item).as_ref() == Some(&home.1));
            let of_it = blocks.get(&home).into_iter().flatten().cloned();
            let renamed = (name != home.1).then(|| format!("// {name} is\n"));
            for part in renamed.into_iter().chain(own.map(print::item)).chain(of_it) {
                text.push_str(&part);
            }
            text.push('\n');
        }
    }
    text
}

/// The `impl`s, by what they are of: a type of ours, or a trait of ours if the type is not.
fn blocks(krate: &Crate) -> BTreeMap<Home, Vec<String>> {
    let mut blocks: BTreeMap<Home, Vec<String>> = BTreeMap::new();
    for (path, module) in &krate.0 {
        let own = |ty: &syn::Path| {
            let called: Vec<_> = ty.segments.iter().map(|step| step.ident.to_string()).collect();
            krate.home(path, &called)
        };
        for item in &module.items {
            let made = match item {
                Item::Impl(block) => vec![block.clone()],
                Item::Macro(call) if call.mac.path.is_ident("thread_local") => continue,
                Item::Macro(call) if call.ident.is_none() => expand(call, &module.items),
                _ => continue,
            };
            for block in made {
                let home = self_type(&block).and_then(own);
                let of_trait = || block.trait_.as_ref().and_then(|(_, path, _)| own(path));
                if let Some(home) = home.or_else(of_trait) {
                    blocks.entry(home).or_default().extend(print::block(&block));
                }
            }
        }
    }
    for blocks in blocks.values_mut() {
        blocks.sort();
    }
    blocks
}

/// The `impl`s that a macro of the same file makes for the types it is given, one each:
/// `copies!(Builder)`, or `held!(String, Bytes)`.
fn expand(call: &ItemMacro, beside: &[Item]) -> Vec<ItemImpl> {
    let name = call.mac.path.get_ident();
    let rules = beside.iter().find_map(|item| match item {
        Item::Macro(rules) if rules.ident.is_some() && rules.ident.as_ref() == name => Some(rules),
        _ => None,
    });
    // Without the spaces and brackets of a retry, if it is one.
    let rules = rules.expect("macros are used where they are written").mac.tokens.to_string();
    let (head, body) = rules.split_once("=>").expect("a rule");
    let parameter = head.split(':').next().unwrap().trim_start_matches(['(', '$', ' ']).trim();
    let (start, end) = (body.find("impl").expect("an `impl`"), body.rfind('}').unwrap());
    let body = body[start..end].trim().trim_end_matches(['*', ' ']);
    let body = if head.contains("$ (") || head.contains("$(") {
        body.strip_suffix(')').expect("a retry")
    } else {
        body
    };
    let body = body.replace("$ ", "$").replace(&format!("${parameter}"), "@");
    let given = call.mac.tokens.to_string();
    let given = given.split(',').map(str::trim).filter(|given| !given.is_empty());
    given.map(|given| syn::parse_str(&body.replace('@', given)).expect("an `impl`")).collect()
}

fn self_type(block: &ItemImpl) -> Option<&syn::Path> {
    match &*block.self_ty {
        Type::Path(ty) => Some(&ty.path),
        _ => None,
    }
}
