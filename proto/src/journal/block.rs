//! The hashes of one block of a journal, computed from what lies in the store.
