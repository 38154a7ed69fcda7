//! What an event of Socket.IO carries besides its name.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::{Attachments, read};
use crate::error::Error;
use crate::wire::placeholders;

/// The arguments of an event or of its ack: JSON values, and binary attachments that stand in for
/// some of them. Cloning copies the JSON and shares the attachments.
///
/// ```
/// use peer_data_server::{Arguments, Placeholder};
///
/// // What JavaScript would write: emit("file", "photo.jpg", buffer)
/// let arguments = Arguments::new(&("photo.jpg", Placeholder(0)))?
///     .with_attachments(vec![vec![0xff, 0xd8].into()])?;
/// assert_eq!(arguments.json(), r#"["photo.jpg",{"_placeholder":true,"num":0}]"#);
///
/// let (name, photo): (String, serde_json::Value) = arguments.read()?;
/// assert_eq!((name.as_str(), &photo["num"]), ("photo.jpg", &0.into()));
/// # Ok::<(), peer_data_server::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Arguments {
    /// A JSON array, as short as it was written.
    json: String,
    attachments: Option<Arc<Attachments>>,
}

/// Where the attachment of that number belongs among the arguments of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placeholder(pub u32);

impl Serialize for Placeholder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Placeholder", 2)?;
        object.serialize_field("_placeholder", &true)?;
        object.serialize_field("num", &self.0)?;
        object.end()
    }
}

impl Arguments {
    /// No arguments at all.
    #[must_use]
    pub fn none() -> Self {
        Self {
            json: "[]".to_owned(),
            attachments: None,
        }
    }

    /// Each item of a tuple, array or list is one argument.
    ///
    /// # Errors
    ///
    /// When the values are nothing that JSON has, or not a list.
    pub fn new<T: Serialize + ?Sized>(values: &T) -> Result<Self, Error> {
        let json = serde_json::to_string(values);
        let json = json.map_err(|error| Error::new("arguments", error.to_string()))?;
        if !json.starts_with('[') {
            return Err(Error::new(
                "arguments",
                "arguments must be a list of values",
            ));
        }
        Ok(Self {
            json,
            attachments: None,
        })
    }

    /// The same with attachments. Each of them needs a [`Placeholder`] of its number among the
    /// values, and each placeholder an attachment; and no member may be named `hasOwnProperty`.
    ///
    /// # Errors
    ///
    /// When they do not fit each other: clients close the connection for it, or hear nothing more.
    pub fn with_attachments(self, attachments: Vec<Bytes>) -> Result<Self, Error> {
        Self::checked(self.json, attachments)
            .ok_or_else(|| Error::new("attachments", placeholders::UNFIT))
    }

    /// What came from a client: `tail` is `1,2]`, well-formed. `None` if its placeholders do not
    /// fit its attachments.
    pub(crate) fn received(tail: &str, attachments: Option<Vec<Bytes>>) -> Option<Self> {
        let json = ["[", tail.trim_end()].concat();
        match attachments {
            Some(attachments) => Self::checked(json, attachments),
            None => Some(Self {
                json,
                attachments: None,
            }),
        }
    }

    /// One argument: a JSON value.
    pub(crate) fn of_json(value: &str) -> Self {
        Self {
            json: ["[", value, "]"].concat(),
            attachments: None,
        }
    }

    fn checked(json: String, attachments: Vec<Bytes>) -> Option<Self> {
        let placeholders = placeholders::anywhere(&json, attachments.len())?;
        let attachments = (!attachments.is_empty()).then(|| {
            Arc::new(Attachments {
                parts: attachments,
                placeholders,
            })
        });
        Some(Self { json, attachments })
    }

    /// The values as a JSON array; `{"_placeholder":true,"num":n}` where an attachment belongs.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The attachments in the order of their numbers.
    #[must_use]
    pub fn attachments(&self) -> &[Bytes] {
        self.attachments
            .as_ref()
            .map_or(&[], |attachments| &attachments.parts)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let list = self.json.strip_prefix('[').unwrap_or_default();
        list.trim_start() == "]"
    }

    /// The values as a tuple, a list, or whatever else they are.
    ///
    /// # Errors
    ///
    /// When they are not a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        read("arguments", &self.json)
    }

    pub(super) fn shared(&self) -> Option<Arc<Attachments>> {
        self.attachments.clone()
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arguments")
            .field("json", &self.json)
            .field("attachments", &self.attachments().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_list() {
        assert_eq!(Arguments::new(&(1, "a")).unwrap().json(), r#"[1,"a"]"#);
        assert_eq!(Arguments::new(&[0_u8; 0]).unwrap().json(), "[]");
        assert!(Arguments::new(&[0_u8; 0]).unwrap().is_empty());
        assert!(!Arguments::new(&[[0_u8; 0]]).unwrap().is_empty());
        assert!(Arguments::new("text").is_err());
        assert!(Arguments::new(&1).is_err());
    }

    #[test]
    fn placeholders_fit_attachments() {
        let one = || vec![Bytes::from_static(b"x")];
        let with = Arguments::new(&[Placeholder(0)]).unwrap();
        assert_eq!(
            with.clone().with_attachments(one()).unwrap().attachments(),
            one()
        );
        assert!(with.with_attachments(vec![]).is_err());
        assert!(Arguments::none().with_attachments(one()).is_err());
        assert!(Arguments::none().with_attachments(vec![]).is_ok());
    }

    #[test]
    fn what_came_is_read_as_it_stands() {
        let received = Arguments::received(r#"1, "2",{"3":[true]} ] "#, None).unwrap();
        let (one, two, three): (u8, String, serde_json::Value) = received.read().unwrap();
        assert_eq!((one, two.as_str()), (1, "2"));
        assert_eq!(three["3"][0], true);
        assert!(received.read::<(u8,)>().is_err());
        assert!(Arguments::received("]", None).unwrap().is_empty());
        assert!(Arguments::received(" ]", Some(vec![])).unwrap().is_empty());
        assert_eq!(Arguments::received("]", Some(vec![Bytes::new()])), None);
    }
}
