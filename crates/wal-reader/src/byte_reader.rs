//! A bounds-checked cursor; all received bytes are parsed through it.

use std::ops::Range;

use outbox::Lsn;

use crate::decode_error::DecodeError;

pub(crate) struct ByteReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Position of the first byte, for errors.
    base: u64,
}

impl<'a> ByteReader<'a> {
    pub(crate) fn new(bytes: &'a [u8], base: u64) -> Self {
        ByteReader { bytes, at: 0, base }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn error_at(&self, at: usize, what: impl Into<std::borrow::Cow<'static, str>>) -> DecodeError {
        DecodeError::new(self.base + at as u64, what)
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<Range<usize>, DecodeError> {
        if count > self.remaining() {
            return Err(self.cut_short(count, what));
        }
        let start = self.at;
        self.at += count;
        Ok(start..self.at)
    }

    #[cold]
    fn cut_short(&self, count: usize, what: &'static str) -> DecodeError {
        self.error_at(
            self.at,
            format!("{what} needs {count} bytes, and only {} are left of the message", self.remaining()),
        )
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.cut_short(N, what)),
        }
    }

    #[inline]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        self.array(what).map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.array(what).map(i64::from_be_bytes)
    }

    pub(crate) fn lsn(&mut self, what: &'static str) -> Result<Lsn, DecodeError> {
        self.array(what).map(u64::from_be_bytes).map(Lsn::from_u64)
    }

    /// A 16-bit count or length; a negative one is an error.
    #[inline]
    pub(crate) fn count_16(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let at = self.at;
        let count = i16::from_be_bytes(self.array(what)?);
        usize::try_from(count).map_err(|_| self.error_at(at, format!("{what} is {count}")))
    }

    /// A 32-bit count or length; a negative one is an error.
    #[inline]
    pub(crate) fn count_32(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let at = self.at;
        let count = self.i32(what)?;
        usize::try_from(count).map_err(|_| self.error_at(at, format!("{what} is {count}")))
    }

    /// A zero-terminated string. It is UTF-8, the session's `client_encoding`.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let start = self.at;
        let rest = &self.bytes[start..];
        let Some(length) = rest.iter().position(|&byte| byte == 0) else {
            return Err(self.error_at(start, format!("{what} has no terminating zero byte")));
        };
        self.at = start + length + 1;
        std::str::from_utf8(&rest[..length])
            .map_err(|error| self.error_at(start + error.valid_up_to(), format!("{what} is not UTF-8")))
    }

    /// A zero-terminated string in an unknown encoding: before authentication the server does not apply
    /// `client_encoding`.
    pub(crate) fn text_lossy(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == 0) else {
            return Err(self.error_at(self.at, format!("{what} has no terminating zero byte")));
        };
        self.at += length + 1;
        Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    pub(crate) fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        &self.bytes[range]
    }

    /// Checks that no bytes follow.
    pub(crate) fn end(&self, what: &'static str) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error_at(self.at, format!("{left} bytes follow the end of {what}"))),
        }
    }
}
