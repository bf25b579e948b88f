//! Which names of the crate can be named from outside, and what stands behind them.

use std::collections::BTreeMap;

use syn::{Attribute, Item, UseTree, Visibility};

use crate::source::source;

pub(super) type Path = Vec<String>;

/// Where an item is written: its module, and its name there.
pub(super) type Home = (Path, String);

pub(super) struct Module {
    pub(super) items: Vec<Item>,
    imports: Vec<Import>,
    is_public: bool,
    /// Under another path than the one where it is written.
    public_at: Option<Path>,
    pub(super) features: Vec<String>,
}

struct Import {
    name: String,
    target: Path,
    is_public: bool,
}

/// The modules of the crate without its tests. Its root is the empty path.
pub(super) struct Crate(pub(super) BTreeMap<Path, Module>);

impl Crate {
    pub(super) fn read() -> Self {
        let files: BTreeMap<Path, String> = source()
            .into_iter()
            .map(|file| (file.module().into_iter().map(str::to_owned).collect(), file.text))
            .collect();
        let mut modules = Self(BTreeMap::new());
        let root = syn::parse_file(&files[&Path::new()]).unwrap();
        modules.add(Path::new(), root.items, true, Vec::new(), &files);
        modules.find_imports();
        modules.move_out();
        modules
    }

    fn add(
        &mut self,
        path: Path,
        items: Vec<Item>,
        is_public: bool,
        features: Vec<String>,
        files: &BTreeMap<Path, String>,
    ) {
        for item in &items {
            let Item::Mod(child) = item else { continue };
            let gates: Vec<_> = child.attrs.iter().filter_map(cfg).collect();
            if gates
                .iter()
                .any(|gate| gate.split(is_no_word).any(|word| matches!(word, "test" | "doctest")))
            {
                continue; // the tests, and the guides, which are text
            }
            let mut below = path.clone();
            below.push(child.ident.to_string());
            let items = match &child.content {
                Some((_, items)) => items.clone(),
                None => syn::parse_file(&files[&below]).unwrap().items,
            };
            let is_public = is_public && is_pub(&child.vis);
            self.add(below, items, is_public, [features.clone(), gates].concat(), files);
        }
        self.0.insert(
            path,
            Module { items, imports: Vec::new(), is_public, public_at: None, features },
        );
    }

    fn find_imports(&mut self) {
        let paths: Vec<Path> = self.0.keys().cloned().collect();
        for (path, module) in &mut self.0 {
            let mut imports = Vec::new();
            for item in &module.items {
                if let Item::Use(item) = item {
                    let start = (path.clone(), Vec::new());
                    // What is hidden from the documentation is no public API.
                    let is_public = is_pub(&item.vis) && !is_hidden(&item.attrs);
                    walk(&item.tree, start, &paths, is_public, &mut imports);
                }
            }
            module.imports = imports;
        }
    }

    /// Modules that a public one re-exports out of a private one are public where users find them.
    fn move_out(&mut self) {
        let shown = self.0.iter().filter(|(_, module)| module.is_public);
        let shown = shown.flat_map(|(path, module)| {
            let given = module.imports.iter().filter(|import| import.is_public);
            given.map(|import| {
                let place = path.iter().chain([&import.name]).cloned().collect();
                (place, import.target.clone())
            })
        });
        // A function may have the name of the private module that it is written in.
        let is_pub_mod = |target: &Path| {
            let (name, within) = target.split_last().expect("an import has a name");
            self.0.get(within).is_some_and(|module| {
                module.items.iter().any(
                    |item| matches!(item, Item::Mod(child) if child.ident == name && is_pub(&child.vis)),
                )
            })
        };
        let moved: Vec<_> = shown.filter(|(_, target)| is_pub_mod(target)).collect();
        for (path, target) in moved {
            self.0.get_mut(&target).expect("it is a module").public_at = Some(path);
        }
    }

    /// Where that is written which a module calls by this path; `None` for what is not of this crate.
    pub(super) fn home(&self, module: &Path, called: &[String]) -> Option<Home> {
        let (name, within) = called.split_last()?;
        let mut module = module.clone();
        for step in within {
            match step.as_str() {
                "crate" => module.clear(),
                "self" => {}
                "super" => drop(module.pop()),
                step => {
                    let mut below = module.clone();
                    below.push(step.to_owned());
                    module = if self.0.contains_key(&below) {
                        below
                    } else {
                        let import = self.0[&module].imports.iter().find(|i| i.name == step)?;
                        import.target.clone()
                    };
                }
            }
        }
        let inside = self.0.get(&module)?;
        if inside.items.iter().any(|item| name_of(item).is_some_and(|own| own == *name)) {
            return Some((module, name.clone()));
        }
        let import = inside.imports.iter().find(|import| import.name == *name)?;
        let (name, within) = import.target.split_last()?;
        self.0
            .contains_key(within)
            .then(|| self.home(&within.to_vec(), std::slice::from_ref(name)))?
    }

    /// The conditions under which a module is there that is public at this path.
    pub(super) fn features(&self, public: &Path) -> &[String] {
        let moved = || self.0.values().find(|module| module.public_at.as_ref() == Some(public));
        self.0.get(public).or_else(moved).map_or(&[], |module| &module.features)
    }

    /// Every public name of every public module, by the public path of the module.
    pub(super) fn public(&self) -> BTreeMap<&Path, BTreeMap<String, Home>> {
        let public =
            self.0.iter().filter(|(_, module)| module.is_public || module.public_at.is_some());
        let names = public.map(|(path, module)| {
            let shown =
                |item: &&Item| vis_of(item).is_some_and(is_pub) && !is_hidden(attrs_of(item));
            let own = module.items.iter().filter(shown);
            let own = own.filter_map(name_of);
            let own = own.map(|name| (name.clone(), (path.clone(), name)));
            let given = module.imports.iter().filter(|import| import.is_public);
            let given = given.filter_map(|import| {
                let (name, within) = import.target.split_last()?;
                Some((
                    import.name.clone(),
                    self.home(&within.to_vec(), std::slice::from_ref(name))?,
                ))
            });
            (module.public_at.as_ref().unwrap_or(path), own.chain(given).collect())
        });
        names.collect()
    }
}

fn walk(
    tree: &UseTree,
    at: (Path, Path),
    paths: &[Path],
    is_public: bool,
    found: &mut Vec<Import>,
) {
    let (here, so_far) = at;
    let mut end = |name: String, called: String| {
        let mut target = so_far.clone();
        target.push(called);
        found.push(Import { name, target, is_public });
    };
    match tree {
        UseTree::Path(step) => {
            let word = step.ident.to_string();
            let mut next = so_far.clone();
            match (word.as_str(), so_far.is_empty()) {
                ("crate", _) => {
                    return walk_on(&step.tree, here, Path::new(), paths, is_public, found);
                }
                ("self", true) => next.clone_from(&here),
                ("super", true) => next = here[..here.len() - 1].to_vec(),
                ("super", false) => drop(next.pop()),
                (_, true) => {
                    let mut below = here.clone();
                    below.push(word.clone());
                    next = if paths.contains(&below) { below } else { vec![format!("::{word}")] };
                }
                (_, false) => next.push(word),
            }
            walk_on(&step.tree, here, next, paths, is_public, found);
        }
        UseTree::Name(name) if name.ident == "self" => {
            if let Some(last) = so_far.last() {
                let (name, target) = (last.clone(), so_far.clone());
                found.push(Import { name, target, is_public });
            }
        }
        UseTree::Name(name) => end(name.ident.to_string(), name.ident.to_string()),
        UseTree::Rename(name) => end(name.rename.to_string(), name.ident.to_string()),
        UseTree::Group(group) => {
            for tree in &group.items {
                walk(tree, (here.clone(), so_far.clone()), paths, is_public, found);
            }
        }
        UseTree::Glob(_) => assert!(!is_public, "a `pub use …::*` hides what it makes public"),
    }
}

/// As `walk`, but from the root too: an empty path is the crate then, not the start.
fn walk_on(
    tree: &UseTree,
    here: Path,
    next: Path,
    paths: &[Path],
    is_public: bool,
    found: &mut Vec<Import>,
) {
    if next.is_empty() {
        // One step into the crate, as if it were written in its root.
        walk(tree, (Path::new(), next), paths, is_public, found);
    } else {
        walk(tree, (here, next), paths, is_public, found);
    }
}

fn is_no_word(c: char) -> bool {
    !c.is_alphanumeric()
}

pub(super) fn is_pub(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

pub(super) fn is_hidden(attributes: &[Attribute]) -> bool {
    let hidden = |list: &syn::MetaList| list.tokens.to_string() == "hidden";
    let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    docs.filter_map(|doc| doc.meta.require_list().ok()).any(hidden)
}

/// The condition of a `#[cfg(…)]`.
fn cfg(attribute: &Attribute) -> Option<String> {
    let list = attribute.meta.require_list().ok()?;
    list.path.is_ident("cfg").then(|| list.tokens.to_string())
}

pub(super) fn name_of(item: &Item) -> Option<String> {
    Some(
        match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            _ => return None,
        }
        .to_string(),
    )
}

fn vis_of(item: &Item) -> Option<&Visibility> {
    Some(match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        _ => return None,
    })
}

fn attrs_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        _ => &[],
    }
}
