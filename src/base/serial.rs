//! Helpers for `#[serde(with = "...")]`: what goes into checkpoints and is not written well as it is.

/// Vectors of 64-bit words as one run of bytes, in the byte order of the machine.
pub mod words {
    use arrow::datatypes::{ArrowNativeType, ToByteSlice};
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;
    use std::marker::PhantomData;

    /// A 64-bit number.
    pub trait Word: ArrowNativeType {
        /// The number that has these bytes.
        fn of(bytes: [u8; 8]) -> Self;
    }

    impl Word for u64 {
        fn of(bytes: [u8; 8]) -> Self {
            Self::from_ne_bytes(bytes)
        }
    }

    impl Word for i64 {
        fn of(bytes: [u8; 8]) -> Self {
            Self::from_ne_bytes(bytes)
        }
    }

    /// Writes the words.
    pub fn serialize<W: Word, S: Serializer>(words: &[W], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(words.to_byte_slice())
    }

    /// Reads words. Fails when the bytes do not come in eights.
    pub fn deserialize<'de, W: Word, D: Deserializer<'de>>(from: D) -> Result<Vec<W>, D::Error> {
        from.deserialize_bytes(Bytes(PhantomData))
    }

    struct Bytes<W>(PhantomData<W>);

    impl<W: Word> Visitor<'_> for Bytes<W> {
        type Value = Vec<W>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of 64-bit words")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<W>, E> {
            let (words, rest) = bytes.as_chunks::<8>();
            match rest {
                [] => Ok(words.iter().map(|word| W::of(*word)).collect()),
                _ => Err(E::invalid_length(bytes.len(), &self)),
            }
        }
    }
}

/// Bytes in one run.
pub mod bytes {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;
    use std::marker::PhantomData;

    /// Writes the bytes.
    pub fn serialize<B: AsRef<[u8]>, S: Serializer>(bytes: &B, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes.as_ref())
    }

    /// Reads the bytes.
    pub fn deserialize<'de, B, D>(from: D) -> Result<B, D::Error>
    where
        B: for<'a> From<&'a [u8]>,
        D: Deserializer<'de>,
    {
        from.deserialize_bytes(Run(PhantomData))
    }

    struct Run<B>(PhantomData<B>);

    impl<B: for<'a> From<&'a [u8]>> Visitor<'_> for Run<B> {
        type Value = B;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<B, E> {
            Ok(B::from(bytes))
        }
    }
}

/// A value as JSON text, for types whose serde form needs a format that describes itself.
pub mod json {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the text.
    pub fn serialize<T: Serialize, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(value).map_err(S::Error::custom)?.serialize(to)
    }

    /// Reads the text.
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: DeserializeOwned,
        D: Deserializer<'de>,
    {
        serde_json::from_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(with = "words")]
        unsigned: Vec<u64>,
        #[serde(with = "words")]
        signed: Vec<i64>,
        #[serde(with = "bytes")]
        bytes: Vec<u8>,
        #[serde(with = "json")]
        text: Option<f64>,
    }

    #[test]
    fn words_and_json_survive() {
        let check = |unsigned: &[u64], signed: &[i64], text| {
            let bytes = unsigned.iter().map(|word| *word as u8).collect();
            let both = Both { unsigned: unsigned.into(), signed: signed.into(), bytes, text };
            let bytes = bincode::serialize(&both).unwrap();
            assert_eq!(bincode::deserialize::<Both>(&bytes).unwrap(), both);
        };
        check(&[], &[], None);
        check(&[0, 1, u64::MAX], &[i64::MIN, -1], Some(0.1));
        assert!(bincode::deserialize::<Both>(&[3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]).is_err());
    }
}
