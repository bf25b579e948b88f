//! Who should be asked instead: said by one who was asked, and did nothing.

use std::any::Any;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tower::BoxError;

use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::epoch::Epoch;
use crate::core::error::{CallError, Reason, Rejected};

/// Who should be asked instead. Whoever says so has done nothing with the request, so it is safe to send it again,
/// whatever it asks for.
///
/// ```
/// use seawall::Epoch;
/// use seawall::shards::Hint;
///
/// // As in a header of an answer: `seawall-owner: orders-3; epoch=8`
/// let hint: Hint = "orders-3; epoch=8".parse()?;
/// assert_eq!((hint.to(), hint.epoch()), (Some("orders-3"), Epoch::new(8)));
/// assert_eq!(hint.to_string(), "orders-3; epoch=8");
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hint {
    to: Option<Arc<str>>,
    epoch: Epoch,
    lasting: bool,
}

impl Hint {
    /// The key is `owner`'s by a map of this epoch, and stays so until there is a later one (`MOVED` in Redis).
    pub fn to_owner(owner: impl Into<Arc<str>>, epoch: impl Into<Epoch>) -> Self {
        Self { to: Some(owner.into()), epoch: epoch.into(), lasting: true }
    }

    /// The key is not whose it was taken for; whose it is, nobody says. A later map will.
    pub fn elsewhere(epoch: impl Into<Epoch>) -> Self {
        Self { to: None, epoch: epoch.into(), lasting: false }
    }

    /// For this one request only (`ASK` in Redis).
    #[must_use]
    pub fn once(mut self) -> Self {
        self.lasting = false;
        self
    }

    /// Whom to ask, if that is known.
    pub fn to(&self) -> Option<&str> {
        self.to.as_deref()
    }

    /// The epoch of the map that says so.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether it is so for further requests with the key, until there is a map of that epoch or a later one.
    pub const fn is_lasting(&self) -> bool {
        self.lasting
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(to) = &self.to {
            write!(f, "{to}; ")?;
        }
        write!(f, "epoch={}", self.epoch)?;
        if self.to.is_some() && !self.lasting { f.write_str("; once") } else { Ok(()) }
    }
}

/// The header, and the metadata of gRPC, in which an owner says so.
#[cfg(feature = "http")]
pub(crate) const OWNER_HEADER: &str = "seawall-owner";

/// What is accepted in a header.
const FORM: &str = "`name; epoch=8`, `name; epoch=8; once` or `epoch=8`, with a name of 1 to 200 visible ASCII characters without `;`";
/// A name that is longer is nobody's.
const LONGEST_NAME: usize = 200;

impl FromStr for Hint {
    type Err = ConfigErrors;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| {
            let shown: String = text.chars().take(LONGEST_NAME).collect();
            let wrong = ConfigError::new("hint", shown, FORM);
            ConfigErrors::of(vec![wrong])
        })
    }
}

fn parse(text: &str) -> Option<Hint> {
    let mut parts = text.split(';').map(str::trim);
    let (mut first, mut to) = (parts.next()?, None);
    if !first.starts_with("epoch=") {
        let is_name = |name: &str| {
            (1..=LONGEST_NAME).contains(&name.len())
                && name.bytes().all(|b| (0x21..0x7f).contains(&b))
        };
        to = Some(first).filter(|name| is_name(name)).map(Arc::from);
        to.as_ref()?;
        first = parts.next()?;
    }
    let number = first.strip_prefix("epoch=")?;
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let epoch = number.parse().ok().filter(|_| is_number)?;
    let lasting = match (parts.next(), &to) {
        (None, _) => to.is_some(),
        (Some("once"), Some(_)) => false,
        _ => return None,
    };
    parts.next().is_none().then_some(Hint { to, epoch, lasting })
}

/// Reads out of a result who should be asked instead.
///
/// A closure `Fn(Result<&Res, &Err>) -> Option<Hint>` is one. Believe only peers that you know: a hint sends
/// a request, with all that is in it, to another member of the set (and to nobody else).
///
/// ```
/// use seawall::shards::{Hint, Redirect};
///
/// /// The answers of a protocol of one's own.
/// enum Answer { Done, Moved { shard: String, version: u64 } }
///
/// fn moved(result: Result<&Answer, &std::io::Error>) -> Option<Hint> {
///     match result {
///         Ok(Answer::Moved { shard, version }) => Some(Hint::to_owner(&**shard, *version)),
///         _ => None,
///     }
/// }
///
/// let answer = Answer::Moved { shard: "orders-3".into(), version: 8 };
/// assert_eq!(moved.redirect(Ok(&answer)).unwrap().to(), Some("orders-3"));
/// assert_eq!(moved.redirect(Ok(&Answer::Done)), None);
/// let nobody: Option<Hint> = seawall::shards::Stay.redirect(Ok::<_, &()>(&answer)); // the default
/// assert_eq!(nobody, None);
/// ```
pub trait Redirect<Res, Err> {
    /// Who should be asked instead, if this result says so.
    fn redirect(&self, result: Result<&Res, &Err>) -> Option<Hint>;

    /// Whether any result could say so. If not, calls keep nothing that could be sent on.
    #[doc(hidden)]
    #[inline]
    fn redirects(&self) -> bool {
        true
    }
}

impl<Res, Err, F: Fn(Result<&Res, &Err>) -> Option<Hint>> Redirect<Res, Err> for F {
    fn redirect(&self, result: Result<&Res, &Err>) -> Option<Hint> {
        self(result)
    }
}

/// Follows nobody: results are what they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stay;

impl<Res, Err> Redirect<Res, Err> for Stay {
    fn redirect(&self, _: Result<&Res, &Err>) -> Option<Hint> {
        None
    }

    #[inline]
    fn redirects(&self) -> bool {
        false
    }
}

/// The kind of the layer whose hints are an owner's.
pub(crate) const OWNS: &str = "owns";

/// Follows the [hints](crate::Rejected::hint) of rejections by an [`OwnsLayer`](crate::shards::OwnsLayer) in the same process.
///
/// Only of those that are the error of the call themselves: a rejection inside of an error may be one of another call, made by an
/// owner that has done something with this one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::retry::Cloned;
/// use seawall::shards::{ByRejection, Key, Map, OwnsLayer, Shards};
/// use seawall::Error;
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// // The owners have heard of a third one, the router has not.
/// let (two, three) = (Map::hashed(1, ["a", "b"])?, Map::hashed(2, ["a", "b", "c"])?);
/// let order = (0_u64..).find(|order| three.owner(*order).name() == "b" && two.owner(*order).name() == "b").unwrap();
/// let owners = three.clone();
/// let orders = Shards::builder("orders")
///     .key(|order: &u64| Key::from(*order))
///     .map(Map::directory(1, ["a", "b"], [(order.to_be_bytes(), "a")])?)
///     .redirect(ByRejection)
///     .copy_with(Cloned)
///     .over(move |member| {
///         let owns = OwnsLayer::builder("orders", member.name()).key(|order: &u64| Key::from(*order));
///         let name = member.name().to_owned();
///         let owner = service_fn(move |_: u64| {
///             let name = name.clone();
///             async move { Ok::<_, Infallible>(name) }
///         });
///         let owns = owns.map(owners.clone()).build()?;
///         Ok(ServiceBuilder::new().layer(owns).map_err(Error::Inner).service(owner))
///     })?;
/// assert_eq!(orders.oneshot(order).await?, "b"); // and not "a", as the router's map has it
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ByRejection;

impl<Res, Err: CallError + 'static> Redirect<Res, Err> for ByRejection {
    fn redirect(&self, result: Result<&Res, &Err>) -> Option<Hint> {
        let error: &dyn Any = result.err()?;
        let rejected = match error.downcast_ref::<BoxError>() {
            // One that it has for a source may be of another call, made by an owner that did something.
            Some(error) => error.downcast_ref::<Rejected>()?,
            None => result.err()?.rejected()?,
        };
        let is_owners = rejected.reason() == Reason::NotOwner && rejected.origin().layer() == OWNS;
        rejected.hint().filter(|_| is_owners).cloned()
    }
}
