//! An item as its users see it: without bodies, private fields and documentation.

use syn::visit_mut::VisitMut;
use syn::{
    Attribute, Block, Fields, FieldsNamed, FieldsUnnamed, ImplItem, Item, ItemImpl, TraitItem,
    Type, parse_quote,
};

use super::names::is_pub;

/// Stands for private fields until the item is printed.
const PRIVATE: &str = "    __: _,\n";

/// What attributes a user of an item has to know of.
fn matters(attribute: &Attribute) -> bool {
    let path = attribute.path();
    if path.is_ident("cfg_attr") {
        let tokens = attribute.meta.require_list().map(|list| list.tokens.to_string());
        return tokens.is_ok_and(|tokens| tokens.contains("serde"));
    }
    ["cfg", "derive", "non_exhaustive", "serde", "default"].iter().any(|name| path.is_ident(name))
}

struct Bare;

impl VisitMut for Bare {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        attributes.retain(matters);
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        block.stmts.clear();
    }

    fn visit_item_struct_mut(&mut self, item: &mut syn::ItemStruct) {
        match &mut item.fields {
            Fields::Named(fields) => hide_named(fields),
            Fields::Unnamed(fields) => hide_unnamed(fields),
            Fields::Unit => {}
        }
        syn::visit_mut::visit_item_struct_mut(self, item);
    }

    fn visit_item_trait_mut(&mut self, item: &mut syn::ItemTrait) {
        item.items.retain(|item| !matches!(item, TraitItem::Macro(_)));
        syn::visit_mut::visit_item_trait_mut(self, item);
    }
}

fn hide_named(fields: &mut FieldsNamed) {
    let all = fields.named.len();
    let public: Vec<_> = fields.named.iter().filter(|field| is_pub(&field.vis)).cloned().collect();
    let hidden = public.len() < all;
    fields.named = public.into_iter().collect();
    if hidden {
        let private: FieldsNamed = parse_quote!({ __: _ });
        fields.named.extend(private.named);
    }
}

fn hide_unnamed(fields: &mut FieldsUnnamed) {
    for field in fields.unnamed.iter_mut().filter(|field| !is_pub(&field.vis)) {
        field.ty = Type::Infer(parse_quote!(_));
        field.attrs.clear();
    }
}

pub(super) fn item(item: &Item) -> String {
    let mut item = item.clone();
    Bare.visit_item_mut(&mut item);
    print(item)
}

/// An `impl`: what of it is public, or only its head if it is of a trait of another crate.
pub(super) fn block(block: &ItemImpl) -> Option<String> {
    let mut block = block.clone();
    if block.trait_.is_some() {
        block.items.retain(|item| matches!(item, ImplItem::Type(_)));
    } else {
        block.items.retain(|item| match item {
            ImplItem::Fn(item) => is_pub(&item.vis),
            ImplItem::Const(item) => is_pub(&item.vis),
            ImplItem::Macro(_) => true,
            _ => false,
        });
        if block.items.is_empty() {
            return None;
        }
    }
    Bare.visit_item_impl_mut(&mut block);
    Some(print(Item::Impl(block)))
}

fn print(item: Item) -> String {
    let file = syn::File { shebang: None, attrs: Vec::new(), items: vec![item] };
    let text = prettyplease::unparse(&file).replace(PRIVATE, "    // private\n");
    // What a trait provides keeps its braces.
    let lines = text.lines().map(|line| match line.strip_suffix(" {}") {
        Some(function) if line.trim_start().starts_with("pub ") => format!("{function};\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}
