//! Maps in files: what a map looks like in JSON, TOML, YAML, or whatever serde reads.

use serde::{Deserialize, Deserializer, de};

use super::key::Key;
use super::map::Map;
use super::member::Member;
use super::range::KeyRange;
use super::region::Region;
use super::slots::Fill;
use crate::core::config::{ConfigError, ConfigErrors};

/// A map as it is written.
#[derive(Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
enum Written {
    Hashed {
        epoch: u64,
        members: Vec<WrittenMember>,
        #[serde(default)]
        fill: Fill,
        #[serde(default)]
        pinned: Vec<Pinned>,
        #[serde(default)]
        slots: Vec<OwnSlot>,
    },
    Ranged {
        epoch: u64,
        ranges: Vec<WrittenRange>,
    },
    Geo {
        epoch: u64,
        members: Vec<WrittenMember>,
        regions: Vec<WrittenRegion>,
    },
    Shuffled {
        epoch: u64,
        members: Vec<WrittenMember>,
        each: u32,
        secret: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMember {
    name: String,
    #[serde(default = "one")]
    weight: u32,
    zone: Option<String>,
}

const fn one() -> u32 {
    1
}

/// A key that has an owner of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    key: WrittenKey,
    owner: String,
}

/// A slot that was given to somebody else than whose it would be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnSlot {
    pub(super) slot: u32,
    pub(super) owner: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRange {
    from: Option<WrittenKey>,
    to: Option<WrittenKey>,
    owner: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRegion {
    name: Option<String>,
    zones: Vec<String>,
    #[serde(default)]
    resident: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenKey {
    Number(u64),
    Text(String),
}

impl WrittenKey {
    fn key(&self) -> Key<'_> {
        match self {
            Self::Number(number) => Key::from(*number),
            Self::Text(text) => Key::from(text),
        }
    }
}

impl From<WrittenMember> for Member {
    fn from(written: WrittenMember) -> Self {
        let member = Self::new(written.name).weight(written.weight);
        match written.zone {
            Some(zone) => member.zone(zone),
            None => member,
        }
    }
}

impl WrittenRange {
    fn range(&self) -> KeyRange {
        let owner = &*self.owner;
        match (&self.from, &self.to) {
            (None, None) => KeyRange::new::<Key<'_>>(.., owner),
            (Some(from), None) => KeyRange::new(from.key().., owner),
            (None, Some(to)) => KeyRange::new(..to.key(), owner),
            (Some(from), Some(to)) => KeyRange::new(from.key()..to.key(), owner),
        }
    }
}

impl From<WrittenRegion> for Region {
    fn from(written: WrittenRegion) -> Self {
        let region = match written.name {
            Some(name) => Self::new(name, written.zones),
            None => Self::otherwise(written.zones),
        };
        if written.resident { region.resident() } else { region }
    }
}

/// Sixteen bytes in 32 hexadecimal digits. The value is nobody's business.
fn secret(text: &str) -> Result<[u8; 16], ConfigErrors> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u128::from_str_radix(text, 16) {
        Ok(number) if is_hex => Ok(number.to_be_bytes()),
        _ => {
            let wrong = ConfigError::new("secret", "…", "32 hexadecimal digits");
            Err(ConfigErrors::of(vec![wrong]))
        }
    }
}

impl TryFrom<Written> for Map {
    type Error = ConfigErrors;

    fn try_from(written: Written) -> Result<Self, ConfigErrors> {
        match written {
            Written::Hashed { epoch, members, fill, pinned, slots } => {
                let pinned = pinned.iter().map(|one| (one.key.key(), &*one.owner));
                Self::listed(epoch, members, pinned, fill)?.with_slots(&slots)
            }
            Written::Ranged { epoch, ranges } => {
                Self::ranged(epoch, ranges.iter().map(WrittenRange::range))
            }
            Written::Geo { epoch, members, regions } => {
                Self::geo(epoch, members, regions.into_iter().map(Region::from))
            }
            Written::Shuffled { epoch, members, each, secret: text } => {
                let each = usize::try_from(each).unwrap_or(usize::MAX);
                Self::shuffled(epoch, members, each, secret(&text)?)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Map {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}
