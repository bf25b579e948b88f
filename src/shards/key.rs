//! What decides whose a request is.

use twox_hash::XxHash3_64;

/// What decides whose a request is: bytes that the request holds, or a number.
///
/// A number counts as its eight bytes, the highest first, so that numbers and their bytes are in one order
/// and hash alike. How keys hash is part of the contract: XXH3 with 64 bits and seed 0, the same on every
/// platform and in every release.
///
/// ```
/// use seawall::shards::Key;
///
/// struct Order { tenant: String, number: u64 }
///
/// let order = Order { tenant: "acme".into(), number: 7 };
/// assert_eq!(Key::from(&order.tenant), Key::from("acme"));
/// assert_eq!(Key::from(order.number).as_bytes(), [0, 0, 0, 0, 0, 0, 0, 7]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    form: Form<'a>,
    region: Option<&'a str>,
}

#[derive(Debug, Clone, Copy)]
enum Form<'a> {
    Bytes(&'a [u8]),
    Number([u8; 8]),
}

impl<'a> Key<'a> {
    const fn new(form: Form<'a>) -> Self {
        Self { form, region: None }
    }

    /// The same key of something that belongs to a region, for maps [by region](super::Map::geo). Other maps do
    /// not look at it.
    ///
    /// ```
    /// use seawall::shards::Key;
    ///
    /// struct Order { tenant: String, country: String }
    ///
    /// let key = |order: &Order| Key::from(&order.tenant).in_region(&order.country).region().map(str::to_owned);
    /// assert_eq!(key(&Order { tenant: "acme".into(), country: "de".into() }), Some("de".into()));
    /// ```
    #[must_use]
    pub const fn in_region(mut self, region: &'a str) -> Self {
        self.region = Some(region);
        self
    }

    /// The region it belongs to, if that was said.
    #[inline]
    pub const fn region(&self) -> Option<&'a str> {
        self.region
    }

    /// Its bytes, which ranges are ordered by.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.form {
            Form::Bytes(bytes) => bytes,
            Form::Number(bytes) => bytes,
        }
    }

    /// The first key after it, if there is one.
    pub(super) fn after(&self) -> Option<Vec<u8>> {
        match self.form {
            Form::Bytes(bytes) => Some([bytes, &[0]].concat()),
            Form::Number(bytes) => {
                u64::from_be_bytes(bytes).checked_add(1).map(|next| next.to_be_bytes().to_vec())
            }
        }
    }

    #[inline]
    pub(super) fn hash(&self) -> u64 {
        XxHash3_64::oneshot(self.as_bytes())
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes() && self.region == other.region
    }
}

impl Eq for Key<'_> {}

impl<'a> From<&'a [u8]> for Key<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(Form::Bytes(bytes))
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        Self::new(Form::Bytes(text.as_bytes()))
    }
}

impl<'a> From<&'a String> for Key<'a> {
    fn from(text: &'a String) -> Self {
        Self::new(Form::Bytes(text.as_bytes()))
    }
}

impl<'a> From<&'a Vec<u8>> for Key<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::new(Form::Bytes(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Key<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::new(Form::Bytes(bytes))
    }
}

impl AsRef<[u8]> for Key<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<u64> for Key<'_> {
    fn from(number: u64) -> Self {
        Self::new(Form::Number(number.to_be_bytes()))
    }
}

impl From<u32> for Key<'_> {
    fn from(number: u32) -> Self {
        Self::from(u64::from(number))
    }
}
