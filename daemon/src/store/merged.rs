//! Rows of a table, and changes of them.

use std::iter::Peekable;

use kinlink_proto::store::{Row, StoreError};

/// Rows and changes, merged in order of their keys; a change hides the row of its key.
pub(super) struct Merged<B: Iterator, O: Iterator> {
    base: Peekable<B>,
    over: Peekable<O>,
}

impl<'a, B, O> Merged<B, O>
where
    B: Iterator<Item = Result<Row, StoreError>>,
    O: Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
{
    pub(super) fn new(base: impl IntoIterator<IntoIter = B>, over: impl IntoIterator<IntoIter = O>) -> Self {
        Self { base: base.into_iter().peekable(), over: over.into_iter().peekable() }
    }

    /// The change that comes next, if no row comes before it.
    fn change(&mut self) -> Option<O::Item> {
        let (key, _) = self.over.peek()?;
        match self.base.peek() {
            Some(Err(_)) => return None,
            Some(Ok((row, _))) if row.as_slice() < *key => return None,
            Some(Ok((row, _))) if row.as_slice() == *key => drop(self.base.next()),
            _ => {}
        }
        self.over.next()
    }
}

impl<'a, B, O> Iterator for Merged<B, O>
where
    B: Iterator<Item = Result<Row, StoreError>>,
    O: Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
{
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.change() {
                Some((key, Some(value))) => return Some(Ok((key.to_vec(), value.to_vec()))),
                Some((_, None)) => {}
                None => return self.base.next(),
            }
        }
    }
}
